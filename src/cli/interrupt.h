// Ctrl-C as a flag.
#pragma once

#include <atomic>

namespace vmla {

inline constexpr int kInterruptedExitCode = 130;

// While one lives, the first Ctrl-C sets flag() and makes blocking reads return; a second one ends
// the program at once. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  const std::atomic<bool>& flag() const;
};

}  // namespace vmla
