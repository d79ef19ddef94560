#include "kernels/train_device.h"

namespace vmla::kernels {
namespace {
constexpr const char* kNoCuda = "this build has no CUDA kernels";
}

const char* launch_rotate(const RotateParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_silu_mul_backward(const SiluMulBackwardParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}

}  // namespace vmla::kernels
