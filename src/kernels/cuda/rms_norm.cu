// One block a row: the sum of squares in fp32, then the scaled row. A row of 16-bit numbers stays
// in registers in between; any other is read twice, the second time from L2.
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

__device__ float block_sum(float value) {
  __shared__ float partial[32];
  value = lane_sum<32>(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.f;
  for (unsigned i = 0; i < blockDim.x / 32; ++i) sum += partial[i];
  return sum;
}

// Rounded to T before the weight is applied, as HF's LlamaRMSNorm does.
template <typename T>
__device__ T scaled(float x, float scale, T weight) {
  return from_float<T>(to_float(from_float<T>(x * scale)) * to_float(weight));
}

template <typename T>
__global__ void rms_norm_kernel(const RmsNormParams p) {
  let_next_start();
  wait_for_previous();
  const T* row = static_cast<const T*>(p.x) + blockIdx.x * p.width;
  const T* weight = static_cast<const T*>(p.weight);
  float squares = 0.f;
  for (std::int64_t i = threadIdx.x; i < p.width; i += blockDim.x) {
    const float value = to_float(row[i]);
    squares += value * value;
  }
  const float scale = rsqrtf(block_sum(squares) / static_cast<float>(p.width) + p.eps);
  for (std::int64_t i = threadIdx.x; i < p.width; i += blockDim.x)
    static_cast<T*>(p.out)[blockIdx.x * p.width + i] = scaled(to_float(row[i]), scale, weight[i]);
}

constexpr int kWords = 2;  // of eight numbers a thread

template <typename T>
__global__ void rms_norm_words_kernel(const RmsNormParams p) {
  let_next_start();
  const int words = static_cast<int>(p.width / 8);
  const auto* weights = static_cast<const uint4*>(p.weight);
  uint4 weight[kWords], x[kWords];
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const unsigned at = threadIdx.x + i * blockDim.x;
    if (at < words) weight[i] = weights[at];
  }
  wait_for_previous();
  const auto* row = static_cast<const uint4*>(p.x) + static_cast<std::int64_t>(blockIdx.x) * words;
  float squares = 0.f;
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const unsigned at = threadIdx.x + i * blockDim.x;
    x[i] = at < words ? row[at] : make_uint4(0, 0, 0, 0);
    float values[8];
    unpack<T>(x[i], values);
#pragma unroll
    for (int j = 0; j < 8; ++j) squares = fmaf(values[j], values[j], squares);
  }
  const float scale = rsqrtf(block_sum(squares) / static_cast<float>(p.width) + p.eps);
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const unsigned at = threadIdx.x + i * blockDim.x;
    if (at >= words) continue;
    float values[8];
    unpack<T>(x[i], values);
    const auto* by = reinterpret_cast<const T*>(&weight[i]);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] = to_float(scaled(values[j], scale, by[j]));
    static_cast<uint4*>(p.out)[static_cast<std::int64_t>(blockIdx.x) * words + at] =
        pack<T>(values);
  }
}

}  // namespace

const char* launch_rms_norm(const RmsNormParams& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const auto rows = static_cast<unsigned>(p.rows);
  const bool words = p.scalar != Scalar::Float32 && p.width % 8 == 0 && p.width <= 16384 &&
                     is_aligned(p.x) && is_aligned(p.weight) && is_aligned(p.out);
  if (words) {
    const auto threads = static_cast<unsigned>((p.width / 8 + 31) / 32 * 32);
    return dispatch_half(p.scalar, [&](auto zero) {
      using T = decltype(zero);
      launch_dependent(rms_norm_words_kernel<T>, rows, threads > 1024 ? 1024 : threads, 0, on, p);
      return last_error();
    });
  }
  dispatch(p.scalar, [&](auto zero) {
    launch_dependent(rms_norm_kernel<decltype(zero)>, rows, 256, 0, on, p);
  });
  return last_error();
}

}  // namespace vmla::kernels
