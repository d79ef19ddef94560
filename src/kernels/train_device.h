// device.h for the operations of train_ops.h.
#pragma once

#include <cstdint>

#include "kernels/params.h"

namespace vmla::kernels {

// Rotates pairs (i, i + dim / 2) of 16-bit numbers; transposed: by the transposed map, which is
// what a gradient goes through.
struct RotateParams {
  const void* x;    // [tokens, heads, dim], heads packed
  const void* cos;  // [table_tokens, table_heads, dim]
  const void* sin;
  void* out;              // [tokens, heads, dim], packed
  std::int64_t x_stride;  // elements from one token of x to the next
  std::int64_t tokens;
  std::int64_t table_tokens;  // token t reads row t % table_tokens
  int heads;
  int table_heads;  // heads, or 1: the same angles for all
  int dim;          // a multiple of 16
  bool transposed;
  Scalar scalar;
};

struct SiluMulBackwardParams {
  const void* gradient;  // all [words, 8], 16-bit numbers
  const void* gate;
  const void* up;
  void* to_gate;
  void* to_up;
  std::int64_t words;
  Scalar scalar;
};

// Each launch returns nullptr or CUDA's error text.
const char* launch_rotate(const RotateParams& params, void* stream);
const char* launch_silu_mul_backward(const SiluMulBackwardParams& params, void* stream);

}  // namespace vmla::kernels
