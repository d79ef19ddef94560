// mla_decode for any width: rotary keys of each head, quantised planes.
#include "kernels/cuda/mla_kernel.cuh"

namespace vmla::kernels {

const char* launch_mla_heads_packed(const MlaDecodeParams& p,
                                    const MlaGeometry& g,
                                    cudaStream_t stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    return launch_mla_any<decltype(zero), false, true>(p, g, stream);
  });
}

}  // namespace vmla::kernels
