// What becomes of a product's sum before it is stored, the same in all products of a few vectors.
#pragma once

#include "kernels/cuda/scalar.cuh"

namespace vmla::kernels {

// silu(gate) * up, rounded to T wherever a chain of single operations would be.
template <typename T>
__device__ float gated(float gate, float up) {
  const float rounded = to_float(from_float<T>(gate));
  const float activated = to_float(from_float<T>(rounded / (1.f + __expf(-rounded))));
  return activated * to_float(from_float<T>(up));
}

// Adds bias and residual and writes out[b, row].
template <typename T>
__device__ void store_row(const GemvParams& p, int b, int row, float value) {
  const std::int64_t at = static_cast<std::int64_t>(b) * p.rows + row;
  if (p.bias != nullptr) value += to_float(static_cast<const T*>(p.bias)[row]);
  if (p.residual != nullptr)
    value = to_float(from_float<T>(value)) + to_float(static_cast<const T*>(p.residual)[at]);
  static_cast<T*>(p.out)[at] = from_float<T>(value);
}

}  // namespace vmla::kernels
