#include <ATen/ATen.h>

#include <limits>

#include "kernels/codec.h"
#include "kernels/decode_ops.h"

namespace vmla::kernels::reference {
namespace {

// bool [B, capacity]
at::Tensor visible(const DecodeSpan& span, std::int64_t capacity) {
  const at::Tensor place = at::arange(capacity, span.count.options());
  return (place >= span.first.unsqueeze(1)).logical_and(place < span.count);
}

// scores [B, H, capacity] -> softmax in fp32 over what is visible.
at::Tensor masked_softmax(const at::Tensor& scores, const at::Tensor& seen, double scale) {
  return (scores.to(at::kFloat) * scale)
      .masked_fill(seen.logical_not().unsqueeze(1), -std::numeric_limits<float>::infinity())
      .softmax(-1);
}

// What stands in unused rows may be NaN, and 0 * NaN is NaN.
at::Tensor without_unseen(const at::Tensor& plane, const at::Tensor& seen) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(plane.dim()), 1);
  shape[0] = seen.size(0);
  shape[1] = seen.size(1);
  return plane.masked_fill(seen.logical_not().view(shape), 0);
}

// x [B, K, *] -> [B, H, *]: each key head for its group of query heads.
at::Tensor for_query_heads(const at::Tensor& x, std::int64_t heads, std::int64_t dim) {
  return x.repeat_interleave(heads / x.size(dim), dim);
}

// x [B, …, R], its halves the pairs' first and second numbers; cos, sin broadcastable to it.
at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const std::int64_t half = x.size(-1) / 2;
  const at::Tensor rotated = at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
  return x * cos + rotated * sin;
}

// Stored rows of tokens, [B, capacity, …], whether or not they lie in blocks.
at::Tensor by_row(const at::Tensor& stored, const DecodeSpan& span) {
  if (!span.block_table.defined()) return stored;
  const at::Tensor blocks = span.block_table.clamp_min(0);  // whatever stands for "none"
  std::vector<std::int64_t> shape = stored.sizes().vec();
  shape[0] = blocks.size(0);
  shape[1] *= blocks.size(1);
  return stored.index_select(0, blocks.reshape(-1)).view(shape);
}

// A plane's numbers [B, capacity, K, D].
at::Tensor numbers_of(const Plane& plane, const DecodeSpan& span, at::ScalarType dtype) {
  at::Tensor flat = by_row(plane.payload, span);
  if (plane.codec != Codec::None) {
    const Encoded stored{flat, by_row(plane.scales, span)};
    flat = decode(stored, plane.codec, plane.group, plane.width(), dtype);
  }
  return flat.reshape({flat.size(0), flat.size(1), plane.heads, plane.dim});
}

// values [B, n] become token count - 1 of each row.
void store(const at::Tensor& values, const Plane& plane, const DecodeSpan& span) {
  const std::int64_t tokens = plane.payload.size(1);  // of a row or a block
  const at::Tensor place = (span.count - 1).to(at::kLong);
  const at::Tensor slot =
      span.block_table.defined()
          ? span.block_table.index_select(1, at::floor_divide(place, tokens)).select(1, 0) *
                    tokens +
                place.remainder(tokens)
          : at::arange(values.size(0), place.options()) * tokens + place;
  const auto write = [&](const at::Tensor& to, const at::Tensor& from) {
    to.flatten(0, 1).flatten(1).index_copy_(0, slot, from);
  };
  if (plane.codec == Codec::None) {
    write(plane.payload, values);
    return;
  }
  const Encoded encoded = encode(values.unsqueeze(1), plane.codec, plane.group);
  write(plane.payload, encoded.payload.select(1, 0));
  write(plane.scales, encoded.scales.select(1, 0));
}

}  // namespace

at::Tensor linear(const at::Tensor& x,
                  const at::Tensor& weight,
                  const at::Tensor& bias,
                  const at::Tensor& residual) {
  const at::Tensor out = bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
  return residual.defined() ? out + residual : out;
}

at::Tensor gated_linear(const at::Tensor& x, const at::Tensor& gate_up) {
  const auto halves = at::linear(x, gate_up).chunk(2, -1);
  return at::silu(halves[0]) * halves[1];
}

at::Tensor heads_linear(const at::Tensor& x, const at::Tensor& weight) {
  return at::matmul(for_query_heads(weight, x.size(1), 0), x.unsqueeze(-1)).squeeze(-1);
}

at::Tensor heads_linear_transposed(const at::Tensor& x, const at::Tensor& weight) {
  return at::matmul(x.unsqueeze(-2), for_query_heads(weight, x.size(1), 0)).squeeze(-2);
}

void rope_append(const RopeAppend& op, const DecodeSpan& span) {
  const std::int64_t batch = op.projected.size(0), kv_heads = op.k_rope.heads, rope = op.k_rope.dim;
  const auto angles = [&](const at::Tensor& table) {  // [B, D] -> [B, K, R]
    return op.rope_dims.defined()
               ? table.index_select(-1, op.rope_dims.reshape(-1)).view({batch, kv_heads, rope})
               : table.slice(-1, 0, rope).unsqueeze(1).expand({batch, kv_heads, rope});
  };
  const at::Tensor cos = angles(op.cos), sin = angles(op.sin);
  std::int64_t begin = 0;
  const auto part = [&](std::int64_t width) {
    begin += width;
    return op.projected.narrow(1, begin - width, width);
  };
  const at::Tensor q = part(op.heads * rope).view({batch, op.heads, rope});
  q.copy_(turn(q, for_query_heads(cos, op.heads, 1), for_query_heads(sin, op.heads, 1)));
  begin += op.heads * op.nope_dim;
  const at::Tensor key = turn(part(kv_heads * rope).view({batch, kv_heads, rope}), cos, sin);
  store(key.flatten(1), op.k_rope, span);
  for (const Plane* plane : {&op.plane_1, &op.plane_2}) {
    if (plane->defined()) store(part(plane->width()), *plane, span);
  }
}

at::Tensor shared_rope_append(const SharedRopeAppend& op, const DecodeSpan& span) {
  const std::int64_t batch = op.projected.size(0), heads = op.q_mix.size(0),
                     components = op.q_mix.size(1), dim = op.cos.size(1);
  const at::Tensor cos = op.cos.index_select(-1, op.rope_dims),
                   sin = op.sin.index_select(-1, op.rope_dims);  // [B, 2n]
  const at::Tensor pairs = op.projected.narrow(1, 0, heads * dim)
                               .view({batch, heads, dim})
                               .index_select(-1, op.rope_dims);
  const at::Tensor re = pairs.slice(-1, 0, components), im = pairs.slice(-1, components);
  const at::Tensor w_re = op.q_mix.select(-1, 0), w_im = op.q_mix.select(-1, 1);
  const at::Tensor mixed = at::cat({re * w_re + im * w_im, im * w_re - re * w_im}, -1);
  store(turn(op.projected.narrow(1, heads * dim, 2 * components), cos, sin), op.k_rope, span);
  store(op.projected.narrow(1, heads * dim + 2 * components, op.latent.width()), op.latent, span);
  return turn(mixed, cos.unsqueeze(1), sin.unsqueeze(1));
}

at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const Plane& k_rope,
                      const Plane& latent,
                      const DecodeSpan& span,
                      double scale) {
  const std::int64_t heads = q_latent.size(1);
  const at::Tensor stored = numbers_of(latent, span, q_latent.scalar_type()).squeeze(2);
  const at::Tensor seen = visible(span, stored.size(1));
  const at::Tensor keys = without_unseen(stored, seen);  // [B, T, C]
  const at::Tensor rope_keys =
      without_unseen(numbers_of(k_rope, span, q_latent.scalar_type()), seen);  // [B, T, K, R]
  const at::Tensor rope_scores =
      k_rope.heads == 1
          ? at::matmul(q_rope, rope_keys.squeeze(2).transpose(1, 2))
          : at::matmul(q_rope.unsqueeze(-2),
                       for_query_heads(rope_keys, heads, 2).permute({0, 2, 3, 1}))  // [B,H,R,T]
                .squeeze(-2);
  const at::Tensor scores = rope_scores + at::matmul(q_latent, keys.transpose(1, 2));
  return at::matmul(masked_softmax(scores, seen, scale).to(keys.scalar_type()), keys);
}

at::Tensor mha_decode(
    const at::Tensor& q, const Plane& k, const Plane& v, const DecodeSpan& span, double scale) {
  const std::int64_t heads = q.size(1);
  const at::Tensor keys = numbers_of(k, span, q.scalar_type()),
                   values = numbers_of(v, span, q.scalar_type());
  const at::Tensor seen = visible(span, keys.size(1));
  const auto by_head = [&](const at::Tensor& plane) {  // [B, T, K, D] -> [B, H, T, D]
    return for_query_heads(without_unseen(plane, seen), heads, 2).transpose(1, 2);
  };
  const at::Tensor scores =
      at::matmul(q.unsqueeze(-2), by_head(keys).transpose(-2, -1)).squeeze(-2);  // [B, H, T]
  const at::Tensor weights = masked_softmax(scores, seen, scale).to(q.scalar_type());
  return at::matmul(weights.unsqueeze(-2), by_head(values)).squeeze(-2);
}

}  // namespace vmla::kernels::reference
