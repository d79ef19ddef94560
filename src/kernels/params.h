// What a kernel needs, as plain data. No torch header here: CUDA sources include this.
#pragma once

#include <cstdint>

namespace vmla::kernels {

enum class Scalar { Float32, Float16, BFloat16 };

struct RmsNormParams {
  const void* x;       // [rows, width]
  const void* weight;  // [width]
  void* out;           // [rows, width]
  std::int64_t rows;
  std::int64_t width;
  float eps;
  Scalar scalar;
};

struct SiluMulParams {
  const void* gate;  // [count]
  const void* up;    // [count]
  void* out;         // [count]
  std::int64_t count;
  Scalar scalar;
};

}  // namespace vmla::kernels
