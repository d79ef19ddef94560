// Element types of the kernels and their way to float and back.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/params.h"

namespace vmla::kernels {

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(__half x) {
  return __half2float(x);
}
__device__ inline float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <typename T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16(x);
}

// Calls f with a value of the element type.
template <typename F>
void dispatch(Scalar scalar, F f) {
  switch (scalar) {
    case Scalar::Float32:
      f(float{});
      break;
    case Scalar::Float16:
      f(__half{});
      break;
    case Scalar::BFloat16:
      f(__nv_bfloat16{});
      break;
  }
}

// Calls f, which returns an error text or nullptr, with a value of a 16-bit element type.
template <typename F>
const char* dispatch_half(Scalar scalar, F f) {
  if (scalar == Scalar::BFloat16) return f(__nv_bfloat16{});
  if (scalar == Scalar::Float16) return f(__half{});
  return "expected bfloat16 or float16";
}

inline const char* last_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace vmla::kernels
