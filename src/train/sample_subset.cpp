#include "train/sample_subset.h"

#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "train/python_random.h"

namespace vmla {

std::vector<InstructSample> sample_subset(std::vector<InstructSample> samples, double ratio) {
  check(ratio > 0 && ratio <= 1,
        ErrorKind::Usage,
        "--sample_ratio: expected a number above 0 and at most 1, got {}",
        ratio);
  if (ratio == 1 || samples.empty()) return samples;
  PythonRandom(42).shuffle(samples);
  auto kept = static_cast<std::size_t>(static_cast<double>(samples.size()) * ratio);
  if (kept == 0) {
    log_warning(
        "--sample_ratio {} of {} samples is less than one; one is kept", ratio, samples.size());
    kept = 1;
  }
  samples.resize(kept);
  return samples;
}

}  // namespace vmla
