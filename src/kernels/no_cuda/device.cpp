#include "kernels/device.h"

namespace vmla::kernels {
namespace {
constexpr const char* kNoCuda = "this build has no CUDA kernels";
}

bool built_with_cuda() {
  return false;
}
void* current_stream() {
  return nullptr;
}
const char* launch_rms_norm(const RmsNormParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_silu_mul(const SiluMulParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}

}  // namespace vmla::kernels
