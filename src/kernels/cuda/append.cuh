// What the kernels that append a token to the cache share: rotating pairs, and writing a plane's
// groups of quantised numbers with the bits that kernels/codec.cpp gives.
#pragma once

#include <cuda_fp8.h>

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/plane.cuh"

namespace vmla::kernels {

constexpr int kAppendThreads = 256;
// Groups up to this long are a warp's work, longer ones a block's.
constexpr int kLongestWarpGroup = 128;

// a * b as T. __fmul_rn is not contracted to a fused multiply-add, which would skip the rounding.
template <typename T>
__device__ float rounded_product(T a, T b) {
  return to_float(from_float<T>(__fmul_rn(to_float(a), to_float(b))));
}

// Each product is rounded before the sum, as x * cos + rotate_half(x) * sin is in HF.
template <typename T>
__device__ void rotate(T first, T second, T cos_1, T cos_2, T sin_1, T sin_2, T& out_1, T& out_2) {
  out_1 = from_float<T>(rounded_product(first, cos_1) - rounded_product(second, sin_1));
  out_2 = from_float<T>(rounded_product(second, cos_2) + rounded_product(first, sin_2));
}

inline int plain_width(const PlaneParams& plane) {
  return plane.codec == Codec::None ? plane.width : 0;
}

// Blocks that write the plane's groups; 0 where it is not quantised.
__host__ __device__ inline int group_blocks(const PlaneParams& plane) {
  if (plane.codec == Codec::None) return 0;
  const int groups = (plane.width + plane.group - 1) / plane.group;
  return plane.group > kLongestWarpGroup
             ? groups
             : (groups + kAppendThreads / 32 - 1) / (kAppendThreads / 32);
}

// NaN where one of them is.
__device__ inline float greater(float a, float b) {
  return a > b || isnan(a) ? a : b;
}

// The fp16 next to value that is not nearer to zero.
__device__ inline __half half_outside(float value) {
  const __half nearest = __float2half_rn(value);
  return fabsf(__half2float(nearest)) < fabsf(value)
             ? __ushort_as_half(static_cast<unsigned short>(__half_as_ushort(nearest) + 1))
             : nearest;
}

__device__ inline float within(float number, float low, float high) {
  return isnan(number) ? 0.f : fminf(fmaxf(number, low), high);
}

__device__ inline int int4_number(float value, float divisor) {
  return __float2int_rn(within(__fdiv_rn(value, divisor), -8.f, 7.f)) + 8;
}

// Block `block` of group_blocks(plane) writes its groups of the token at `slot`. value(i): number i
// of the token's plane as a float.
template <typename Value>
__device__ void append_groups(const PlaneParams& plane,
                              std::int64_t slot,
                              int block,
                              const Value& value) {
  const bool by_block = plane.group > kLongestWarpGroup;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int groups = (plane.width + plane.group - 1) / plane.group;
  const int group = by_block ? block : block * (kAppendThreads / 32) + warp;
  const int rank = by_block ? threadIdx.x : lane, members = by_block ? kAppendThreads : 32;
  const int first = group * plane.group;
  const int count = group < groups ? min(plane.group, plane.width - first) : 0;

  float high = 0.f, low = 0.f;  // of a group of one sign only the outer end matters
  for (int i = rank; i < count; i += members) {
    const float x = value(first + i);
    high = greater(high, x);
    low = -greater(-low, -x);
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    high = greater(high, __shfl_xor_sync(0xffffffffU, high, offset));
    low = -greater(-low, -__shfl_xor_sync(0xffffffffU, low, offset));
  }
  if (by_block) {
    __shared__ float highs[kAppendThreads / 32], lows[kAppendThreads / 32];
    if (lane == 0) {
      highs[warp] = high;
      lows[warp] = low;
    }
    __syncthreads();
    for (int w = 0; w < kAppendThreads / 32; ++w) {
      high = greater(high, highs[w]);
      low = -greater(-low, -lows[w]);
    }
  }
  if (count == 0) return;

  float scale;
  if (plane.codec == Codec::Int4) {
    scale = __fdiv_rn(high >= -low ? high : low, -8.f) + 0.f;  // no -0
  } else {
    scale = __fdiv_rn(greater(high, -low), plane.codec == Codec::Fp8 ? 448.f : 127.f);
  }
  const __half stored = half_outside(scale);
  if (rank == 0) static_cast<__half*>(plane.scales)[slot * groups + group] = stored;
  const float divisor = __half2float(stored) == 0.f ? 1.f : __half2float(stored);

  auto* payload = static_cast<unsigned char*>(plane.payload);
  if (plane.codec == Codec::Int4) {
    unsigned char* bytes = payload + slot * ((plane.width + 1) / 2) + first / 2;
    for (int i = 2 * rank; i < count; i += 2 * members) {
      const int even = int4_number(value(first + i), divisor);
      const int odd = i + 1 < count ? int4_number(value(first + i + 1), divisor) : 0;
      bytes[i / 2] = static_cast<unsigned char>(even + 16 * odd);
    }
    return;
  }
  unsigned char* bytes = payload + slot * plane.width + first;
  for (int i = rank; i < count; i += members) {
    const float number = __fdiv_rn(value(first + i), divisor);
    bytes[i] = plane.codec == Codec::Fp8
                   ? __nv_cvt_float_to_fp8(within(number, -448.f, 448.f), __NV_SATFINITE, __NV_E4M3)
                   : static_cast<unsigned char>(__float2int_rn(within(number, -127.f, 127.f)));
  }
}

// kernel<T>(params, element_blocks): blocks that take `elements` single numbers or pairs, one a
// thread, and after them those that take quantised groups.
template <typename Params>
void launch_append(void (*kernel)(Params, int),
                   const Params& params,
                   int elements,
                   int blocks_of_groups,
                   void* stream) {
  const int element_blocks = (elements + kAppendThreads - 1) / kAppendThreads;
  const dim3 grid(static_cast<unsigned>(element_blocks + blocks_of_groups),
                  static_cast<unsigned>(params.batch));
  launch_dependent(
      kernel, grid, kAppendThreads, 0, static_cast<cudaStream_t>(stream), params, element_blocks);
}

}  // namespace vmla::kernels
