// One block a row: the sum of squares in fp32, then the scaled row; the row is read twice, the
// second time from L2.
#include "kernels/cuda/scalar.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 256;

__device__ float block_sum(float value) {
  __shared__ float partial[kThreads / 32];
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.f;
  for (int i = 0; i < kThreads / 32; ++i) sum += partial[i];
  return sum;
}

template <typename T>
__global__ void rms_norm_kernel(
    const T* x, const T* weight, T* out, std::int64_t width, float eps) {
  const T* row = x + blockIdx.x * width;
  float squares = 0.f;
  for (std::int64_t i = threadIdx.x; i < width; i += kThreads) {
    const float value = to_float(row[i]);
    squares += value * value;
  }
  const float scale = rsqrtf(block_sum(squares) / static_cast<float>(width) + eps);
  for (std::int64_t i = threadIdx.x; i < width; i += kThreads) {
    // Rounded to T before the weight is applied, as HF's LlamaRMSNorm does.
    const T normed = from_float<T>(to_float(row[i]) * scale);
    out[blockIdx.x * width + i] = from_float<T>(to_float(normed) * to_float(weight[i]));
  }
}

}  // namespace

const char* launch_rms_norm(const RmsNormParams& p, void* stream) {
  dispatch(p.scalar, [&](auto zero) {
    using T = decltype(zero);
    rms_norm_kernel<T>
        <<<static_cast<unsigned>(p.rows), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
            static_cast<const T*>(p.x),
            static_cast<const T*>(p.weight),
            static_cast<T*>(p.out),
            p.width,
            p.eps);
  });
  return last_error();
}

}  // namespace vmla::kernels
