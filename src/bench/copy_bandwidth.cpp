#include "bench/copy_bandwidth.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "base/stopwatch.h"

namespace vmla {

double copy_bandwidth(at::Device device, std::int64_t bytes) {
  const c10::InferenceMode guard;
  if (bytes <= 0) bytes = device.is_cpu() ? std::int64_t{128} << 20 : std::int64_t{1} << 30;
  const auto options = at::TensorOptions().dtype(at::kByte).device(device);
  const at::Tensor from = at::zeros({bytes}, options), to = at::zeros({bytes}, options);
  constexpr int kRepeats = 2, kTries = 4;
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const Stopwatch timer;
    for (int n = 0; n < kRepeats; ++n) to.copy_(from);
    to.slice(0, 0, 1).cpu();  // waits for the device
    best = std::max(best, kRepeats * 2 * static_cast<double>(bytes) / timer.seconds());
  }
  return best;
}

}  // namespace vmla
