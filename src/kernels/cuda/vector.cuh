// Eight 16-bit numbers at a time: 16-byte loads, their floats, sums over a part of a warp.
#pragma once

#include "kernels/cuda/scalar.cuh"

namespace vmla::kernels {

// Whether 16-byte words can be read and written there.
inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

__device__ inline float2 pair_to_float(__nv_bfloat162 x) {
  return __bfloat1622float2(x);
}
__device__ inline float2 pair_to_float(__half2 x) {
  return __half22float2(x);
}

template <typename T>
struct PairOf;
template <>
struct PairOf<__nv_bfloat16> {
  using Type = __nv_bfloat162;
};
template <>
struct PairOf<__half> {
  using Type = __half2;
};

// The eight numbers of one 16-byte word as floats.
template <typename T>
__device__ inline void unpack(const uint4& word, float (&out)[8]) {
  using Pair = typename PairOf<T>::Type;
  const auto* pairs = reinterpret_cast<const Pair*>(&word);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = pair_to_float(pairs[i]);
    out[2 * i] = two.x;
    out[2 * i + 1] = two.y;
  }
}

// Eight floats as one 16-byte word of 16-bit numbers.
template <typename T>
__device__ inline uint4 pack(const float (&values)[8]) {
  alignas(16) T eight[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) eight[i] = from_float<T>(values[i]);
  return *reinterpret_cast<const uint4*>(eight);
}

// Weights and cache rows are read once: past L1, not kept there. Not through the read-only path
// (nc), which may miss what the kernel before this one still writes (dependent_launch.cuh).
__device__ inline uint4 load_streaming(const void* address) {
  uint4 out;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
               : "l"(address));
  return out;
}

// What is read again and again, but written by an earlier kernel: an ordinary load, not __ldg.
__device__ inline uint4 load_fresh(const void* address) {
  return *static_cast<const uint4*>(address);
}

// Over kLanes neighbouring lanes; all of them get the sum.
template <int kLanes>
__device__ inline float lane_sum(float value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  return value;
}
template <int kLanes>
__device__ inline float lane_max(float value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, offset));
  return value;
}

}  // namespace vmla::kernels
