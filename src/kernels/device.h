// The seam between the torch-facing half and a device's kernels: kernels/cuda or kernels/no_cuda
// defines these.
#pragma once

#include "kernels/params.h"

namespace vmla::kernels {

// Whether this build holds CUDA kernels at all.
bool built_with_cuda();
// torch's current stream of the current device.
void* current_stream();

// Each launch returns nullptr or CUDA's error text.
const char* launch_rms_norm(const RmsNormParams& params, void* stream);
const char* launch_silu_mul(const SiluMulParams& params, void* stream);

}  // namespace vmla::kernels
