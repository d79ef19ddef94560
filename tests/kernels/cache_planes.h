// Cache planes as the decode kernels read them, for tests: quantised, poisoned, in blocks.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/codec.h"
#include "kernels/decode_ops.h"

namespace vmla::test {

// values [B, T, K, D] as a plane of that codec; int8 and fp8 share a scale a head.
inline kernels::Plane plane_of(const at::Tensor& values, kernels::Codec codec) {
  kernels::Plane plane;
  plane.heads = values.size(2);
  plane.dim = values.size(3);
  plane.codec = codec;
  if (codec == kernels::Codec::None) {
    plane.payload = values.contiguous();
    return plane;
  }
  plane.group = codec == kernels::Codec::Int4 ? 32 : plane.dim;
  const kernels::Encoded encoded = kernels::encode(values.flatten(2), codec, plane.group);
  plane.payload = encoded.payload.contiguous();
  plane.scales = encoded.scales.contiguous();
  return plane;
}

inline void poison(const at::Tensor& unused) {
  if (unused.is_floating_point()) {
    unused.fill_(std::numeric_limits<float>::quiet_NaN());
  } else {
    unused.fill_(0x7f);
  }
}

// Rows that no query sees are NaN: reading one shows in the result.
inline void poison_unseen(const kernels::Plane& plane, const std::vector<int>& first, int count) {
  for (const at::Tensor& stored : {plane.payload, plane.scales}) {
    if (!stored.defined()) continue;
    for (std::size_t b = 0; b < first.size(); ++b) {
      poison(stored[static_cast<std::int64_t>(b)].slice(0, 0, first[b]));
      poison(stored[static_cast<std::int64_t>(b)].slice(0, count));
    }
  }
}

// The numbers that the plane holds, rounded to dtype, in fp32 [B, T, K, D].
inline at::Tensor numbers_of(const kernels::Plane& plane, at::ScalarType dtype) {
  if (plane.codec == kernels::Codec::None) return plane.payload.to(at::kFloat);
  return kernels::decode(
             {plane.payload, plane.scales}, plane.codec, plane.group, plane.width(), dtype)
      .to(at::kFloat)
      .view({plane.payload.size(0), plane.payload.size(1), plane.heads, plane.dim});
}

// A table that deals out blocks in no order, one in three of them to nobody: int32 [rows, blocks];
// what no token up to count needs is -1.
inline at::Tensor block_table(std::int64_t rows, std::int64_t tokens, std::int64_t block) {
  const std::int64_t blocks = (tokens + block - 1) / block;
  at::Tensor table =
      at::randperm(rows * blocks * 3 / 2 + 1, at::kLong).slice(0, 0, rows * blocks).to(at::kInt);
  return at::cat({table.view({rows, blocks}), at::full({rows, 2}, -1, at::kInt)}, 1);
}

// The plane's first `count` tokens in blocks; everything else is poisoned.
inline kernels::Plane in_blocks(const kernels::Plane& plane,
                                const at::Tensor& table,
                                std::int64_t count,
                                std::int64_t block) {
  const at::Tensor where = table.to(at::kCPU, at::kLong);
  const std::int64_t total = where.max().item<std::int64_t>() + 2;
  kernels::Plane out = plane;
  for (at::Tensor* stored : {&out.payload, &out.scales}) {
    if (!stored->defined()) continue;
    std::vector<std::int64_t> shape = stored->sizes().vec();
    shape[0] = total;
    shape[1] = block;
    at::Tensor blocks = at::empty(shape, stored->options());
    poison(blocks);
    for (std::int64_t b = 0; b < where.size(0); ++b) {
      for (std::int64_t t = 0; t < count; t += block) {
        const std::int64_t tokens = std::min(block, count - t);
        blocks[where[b][t / block].item<std::int64_t>()]
            .slice(0, 0, tokens)
            .copy_((*stored)[b].slice(0, t, t + tokens));
      }
    }
    *stored = blocks;
  }
  return out;
}

}  // namespace vmla::test
