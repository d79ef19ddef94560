// silu(gate) * up in one pass, eight numbers a thread where the rows allow it.
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 256;

// Rounded to T in between, as silu followed by a product is.
template <typename T>
__device__ float activated(float gate, float up) {
  return to_float(from_float<T>(gate / (1.f + expf(-gate)))) * up;
}

template <typename T>
__global__ void silu_mul_kernel(const SiluMulParams p) {
  let_next_start();
  wait_for_previous();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.rows * p.width) return;
  const std::int64_t from = i / p.width * p.stride + i % p.width;
  static_cast<T*>(p.out)[i] = from_float<T>(activated<T>(
      to_float(static_cast<const T*>(p.gate)[from]), to_float(static_cast<const T*>(p.up)[from])));
}

template <typename T>
__global__ void silu_mul_words_kernel(const SiluMulParams p) {
  let_next_start();
  wait_for_previous();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t words = p.width / 8;
  if (i >= p.rows * words) return;
  const std::int64_t from = i / words * p.stride + i % words * 8;
  float gate[8], up[8];
  unpack<T>(load_fresh(static_cast<const T*>(p.gate) + from), gate);
  unpack<T>(load_fresh(static_cast<const T*>(p.up) + from), up);
#pragma unroll
  for (int j = 0; j < 8; ++j) gate[j] = activated<T>(gate[j], up[j]);
  static_cast<uint4*>(p.out)[i] = pack<T>(gate);
}

}  // namespace

const char* launch_silu_mul(const SiluMulParams& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool words = p.scalar != Scalar::Float32 && p.width % 8 == 0 && p.stride % 8 == 0 &&
                     is_aligned(p.gate) && is_aligned(p.up) && is_aligned(p.out);
  const std::int64_t work = p.rows * p.width / (words ? 8 : 1);
  const auto blocks = static_cast<unsigned>((work + kThreads - 1) / kThreads);
  if (words) {
    return dispatch_half(p.scalar, [&](auto zero) {
      launch_dependent(silu_mul_words_kernel<decltype(zero)>, blocks, kThreads, 0, on, p);
      return last_error();
    });
  }
  dispatch(p.scalar, [&](auto zero) {
    launch_dependent(silu_mul_kernel<decltype(zero)>, blocks, kThreads, 0, on, p);
  });
  return last_error();
}

}  // namespace vmla::kernels
