// Quantised numbers of a cache plane, one token after the other: the arithmetic behind
// nn/plane_codec.h, which says what the bytes mean.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "kernels/params.h"

namespace vmla::kernels {

struct Encoded {
  at::Tensor payload;  // int8 or uint8 [B, S, bytes]
  at::Tensor scales;   // fp16 [B, S, ceil(n / group)]
};

// values [B, S, n] in any floating dtype; codec is not None. The same bits on every device.
Encoded encode(const at::Tensor& values, Codec codec, std::int64_t group);
// Of count numbers a token -> [B, S, count], each scale * number in fp32, rounded once to dtype.
at::Tensor decode(const Encoded& stored,
                  Codec codec,
                  std::int64_t group,
                  std::int64_t count,
                  at::ScalarType dtype);

}  // namespace vmla::kernels
