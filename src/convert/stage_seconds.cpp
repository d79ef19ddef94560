#include "convert/stage_seconds.h"

#include <ATen/ATen.h>

namespace vmla {

void StageClock::lap(StageSeconds* seconds, const char* stage) {
  if (seconds == nullptr) return;
  if (device_.is_cuda())
    at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(device_)).item<float>();
  const double now = watch_.seconds();
  (*seconds)[stage] += now - before_;
  before_ = now;
}

}  // namespace vmla
