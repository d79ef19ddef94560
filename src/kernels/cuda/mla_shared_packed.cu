// mla_decode for any width: one rotary key for all heads, quantised planes.
#include "kernels/cuda/mla_kernel.cuh"

namespace vmla::kernels {

const char* launch_mla_shared_packed(const MlaDecodeParams& p,
                                     const MlaGeometry& g,
                                     cudaStream_t stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    return launch_mla_any<decltype(zero), true, true>(p, g, stream);
  });
}

}  // namespace vmla::kernels
