// Where the time of a decode step goes, kernel by kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/session.h"
#include "model/vlm.h"

namespace vmla {

struct KernelTime {
  std::string name;
  double calls = 0;    // a step
  double seconds = 0;  // a step, all calls together
};

// Means over the steps. On a GPU: its kernels and copies, as its own clock saw them, also those of
// a recorded graph; on the CPU: ATen's operators, each without those that it calls.
struct StepProfile {
  bool of_device = false;
  double step_seconds = 0;          // wall time without the profiler
  std::vector<KernelTime> kernels;  // longest first

  double kernel_seconds() const;
};

// Feeds `prompt_tokens` random tokens a row, then times and profiles `steps` single-token steps.
// Uses libtorch's Kineto. Errors: ErrorKind::Usage (a number below 1).
StepProfile profile_steps(const Vlm& model,
                          const SessionOptions& options,
                          std::int64_t batch,
                          std::int64_t prompt_tokens,
                          std::int64_t steps);

// "void name<...>(...)" -> "name<...>", at most `width` characters.
std::string kernel_label(const std::string& name, std::size_t width);

}  // namespace vmla
