// Programmatic dependent launch (sm_90): a kernel's blocks start while the one before it drains,
// do what needs none of its results (copy weights, set up), and then wait for it.
#pragma once

#include <cuda_runtime_api.h>

namespace vmla::kernels {

// Until the grid before this one in the stream is done and its writes are seen. Each kernel started
// by launch_dependent calls it in all threads, before its first access to anything but weights and
// before it writes anything: so a grid that is done vouches for all before it.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next grid may start once all blocks of this one have said so or ended.
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

inline bool has_dependent_launch() {
  static const bool has = [] {
    int device = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    return major >= 9;
  }();
  return has;
}

// Like kernel<<<grid, block, shared_bytes, stream>>>(args...), allowed to start early.
template <typename... Parameters, typename... Arguments>
void launch_dependent(void (*kernel)(Parameters...),
                      dim3 grid,
                      dim3 block,
                      std::size_t shared_bytes,
                      cudaStream_t stream,
                      Arguments... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = has_dependent_launch() ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace vmla::kernels
