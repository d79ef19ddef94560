#include "kernels/device.h"

#include <c10/cuda/CUDAStream.h>

namespace vmla::kernels {

bool built_with_cuda() {
  return true;
}
void* current_stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

}  // namespace vmla::kernels
