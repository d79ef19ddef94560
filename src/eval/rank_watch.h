// Keeps the ranks of a run informed of each other while each works on its own share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "dist/process_group.h"

namespace vmla {

// A thread that sums what the ranks have done several times a second. Ctrl-C on one rank and the
// death of one stop all. While one lives, the group serves nothing else.
class RankWatch {
 public:
  // cancel may be null. on_progress(further steps of all ranks) is called on rank 0, from the
  // watch's thread.
  RankWatch(ProcessGroup& group,
            const std::atomic<bool>* cancel,
            std::function<void(std::int64_t)> on_progress);
  ~RankWatch();
  RankWatch(const RankWatch&) = delete;
  RankWatch& operator=(const RankWatch&) = delete;

  void add(std::int64_t steps) { done_ += steps; }
  // Set once this rank must not go on.
  const std::atomic<bool>& stop() const { return stop_; }
  // This rank's share is done or stopped: waits until all ranks are here. False when one was
  // cancelled before. Errors: ErrorKind::Device when one is gone.
  bool finish();

 private:
  void watch();
  bool pause();

  ProcessGroup& group_;
  const std::atomic<bool>* cancel_;
  std::function<void(std::int64_t)> on_progress_;
  std::atomic<std::int64_t> done_ = 0;
  std::atomic<bool> stop_ = false;
  bool cancelled_ = false;  // read once the thread has ended
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false, abandoned_ = false;
  std::thread thread_;
};

}  // namespace vmla
