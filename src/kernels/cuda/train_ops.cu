// What is bound by memory in a training step: each number is read once, eight a thread.
#include "kernels/cuda/vector.cuh"
#include "kernels/train_device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 256;

template <typename T>
__device__ float rounded(float x) {
  return to_float(from_float<T>(x));
}

template <typename T>
__device__ void load(const void* from, std::int64_t at, float (&to)[8]) {
  unpack<T>(*reinterpret_cast<const uint4*>(static_cast<const T*>(from) + at), to);
}

template <typename T>
__device__ void store(const float (&from)[8], void* to, std::int64_t at) {
  *reinterpret_cast<uint4*>(static_cast<T*>(to) + at) = pack<T>(from);
}

// Rounded as x * cos + rotate_half(x) * sin is when each operation stores its result.
template <typename T>
__global__ void rotate_kernel(const RotateParams p) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int half = p.dim / 2, words = half / 8;
  if (i >= p.tokens * p.heads * words) return;
  const int word = static_cast<int>(i % words) * 8;
  const std::int64_t row = i / words, token = row / p.heads;
  const int head = static_cast<int>(row % p.heads);
  const std::int64_t from = token * p.x_stride + static_cast<std::int64_t>(head) * p.dim + word;
  const std::int64_t table =
      (token % p.table_tokens * p.table_heads + (p.table_heads == 1 ? 0 : head)) * p.dim + word;
  float a[8], b[8], cos_a[8], cos_b[8], sin_a[8], sin_b[8];
  load<T>(p.x, from, a);
  load<T>(p.x, from + half, b);
  load<T>(p.cos, table, cos_a);
  load<T>(p.cos, table + half, cos_b);
  load<T>(p.sin, table, sin_a);
  load<T>(p.sin, table + half, sin_b);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float to_a = p.transposed ? b[j] * sin_b[j] : -b[j] * sin_a[j];
    const float to_b = p.transposed ? -a[j] * sin_a[j] : a[j] * sin_b[j];
    a[j] = rounded<T>(a[j] * cos_a[j]) + rounded<T>(to_a);
    b[j] = rounded<T>(b[j] * cos_b[j]) + rounded<T>(to_b);
  }
  const std::int64_t to = row * p.dim + word;
  store<T>(a, p.out, to);
  store<T>(b, p.out, to + half);
}

template <typename T>
__global__ void silu_mul_backward_kernel(const SiluMulBackwardParams p) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.words) return;
  float gradient[8], gate[8], up[8];
  load<T>(p.gradient, i * 8, gradient);
  load<T>(p.gate, i * 8, gate);
  load<T>(p.up, i * 8, up);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float sigmoid = 1.f / (1.f + expf(-gate[j]));
    const float by_silu = rounded<T>(gradient[j] * up[j]);
    up[j] = gradient[j] * rounded<T>(gate[j] * sigmoid);
    gate[j] = by_silu * sigmoid * (1.f + gate[j] * (1.f - sigmoid));
  }
  store<T>(gate, p.to_gate, i * 8);
  store<T>(up, p.to_up, i * 8);
}

unsigned blocks_of(std::int64_t work) {
  return static_cast<unsigned>((work + kThreads - 1) / kThreads);
}

}  // namespace

const char* launch_rotate(const RotateParams& p, void* stream) {
  const unsigned blocks = blocks_of(p.tokens * p.heads * (p.dim / 16));
  return dispatch_half(p.scalar, [&](auto zero) {
    rotate_kernel<decltype(zero)><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(p);
    return last_error();
  });
}

const char* launch_silu_mul_backward(const SiluMulBackwardParams& p, void* stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    silu_mul_backward_kernel<decltype(zero)>
        <<<blocks_of(p.words), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(p);
    return last_error();
  });
}

}  // namespace vmla::kernels
