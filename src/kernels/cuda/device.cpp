#include "kernels/device.h"

#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

namespace vmla::kernels {

bool built_with_cuda() {
  return true;
}
void* current_stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}
int multiprocessors() {
  int device = 0, count = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

}  // namespace vmla::kernels
