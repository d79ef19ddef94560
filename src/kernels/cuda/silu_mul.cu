// silu(gate) * up in one pass.
#include "kernels/cuda/scalar.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void silu_mul_kernel(const T* gate, const T* up, T* out, std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const float g = to_float(gate[i]);
  // Rounded to T in between, as silu followed by a product is.
  const T activated = from_float<T>(g / (1.f + expf(-g)));
  out[i] = from_float<T>(to_float(activated) * to_float(up[i]));
}

}  // namespace

const char* launch_silu_mul(const SiluMulParams& p, void* stream) {
  const auto blocks = static_cast<unsigned>((p.count + kThreads - 1) / kThreads);
  dispatch(p.scalar, [&](auto zero) {
    using T = decltype(zero);
    silu_mul_kernel<T>
        <<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(static_cast<const T*>(p.gate),
                                                                     static_cast<const T*>(p.up),
                                                                     static_cast<T*>(p.out),
                                                                     p.count);
  });
  return last_error();
}

}  // namespace vmla::kernels
