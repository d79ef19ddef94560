// The windows of a text, spread over the ranks of a run.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "dist/process_group.h"

namespace vmla {

struct WindowShare {
  std::string what;  // on the progress bar
  std::int64_t windows = 0;
  std::int64_t columns = 0;     // numbers that each window is worth
  std::int64_t batch_size = 8;  // windows that are worked on together
  // Fills the rows [count, columns] of the windows from begin on, whose numbers are zero.
  std::function<void(std::int64_t begin, std::int64_t count, double* rows)> work;
  std::function<std::string()> note = {};  // behind the progress bar
};

// Every rank works on each so many-th batch. -> float64 [windows, columns] of all ranks, on every
// rank and the same for any number of them; nothing when one was cancelled. Errors: those of work;
// Device when a rank is gone.
std::optional<at::Tensor> share_windows(ProcessGroup& group,
                                        const WindowShare& share,
                                        const std::atomic<bool>* cancel);

}  // namespace vmla
