// Unfinished directories that go when the process is told to end.
#pragma once

#include <mutex>

#include "base/files.h"

namespace vmla {

// While one lives, SIGINT, SIGTERM and SIGHUP remove its directory and then end the process as they
// would have without it. A signal that the program ignores or handles itself is left alone.
class RemoveOnSignal {
 public:
  explicit RemoveOnSignal(fs::path directory);
  ~RemoveOnSignal();
  RemoveOnSignal(const RemoveOnSignal&) = delete;
  RemoveOnSignal& operator=(const RemoveOnSignal&) = delete;

  // Nothing is removed while it is held. It never returns once removing has begun.
  std::unique_lock<std::mutex> hold() const;

 private:
  fs::path directory_;
};

}  // namespace vmla
