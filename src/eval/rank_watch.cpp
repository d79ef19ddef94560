#include "eval/rank_watch.h"

#include <ATen/ATen.h>

#include <chrono>
#include <utility>

namespace vmla {
namespace {

constexpr auto kPause = std::chrono::milliseconds(200);

}  // namespace

RankWatch::RankWatch(ProcessGroup& group,
                     const std::atomic<bool>* cancel,
                     std::function<void(std::int64_t)> on_progress)
    : group_(group), cancel_(cancel), on_progress_(std::move(on_progress)) {
  thread_ = std::thread([this] { watch(); });
}

RankWatch::~RankWatch() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

// Until the next round; false when this rank leaves without having finished.
bool RankWatch::pause() {
  std::unique_lock lock(mutex_);
  // A rank that is done waits in the collective, for those that are not.
  changed_.wait_for(lock, kPause, [this] { return finished_ || abandoned_; });
  return !abandoned_;
}

void RankWatch::watch() {
  std::int64_t told = 0;
  while (pause()) {
    bool finished = false;
    {
      const std::lock_guard lock(mutex_);
      finished = finished_;
    }
    const bool cancelled = cancel_ != nullptr && cancel_->load();
    // int64 [3]: steps done, ranks that are finished, ranks that are cancelled
    const at::Tensor sums =
        at::tensor({done_.load(), std::int64_t{finished}, std::int64_t{cancelled}}, at::kLong);
    try {
      group_.all_reduce(sums)->wait();
    } catch (...) {
      error_ = std::current_exception();
      stop_ = true;
      return;
    }
    const auto* sum = sums.const_data_ptr<std::int64_t>();
    if (group_.rank() == 0 && sum[0] > told) {
      on_progress_(sum[0] - told);
      told = sum[0];
    }
    if (sum[2] > 0) {
      cancelled_ = true;
      stop_ = true;
    }
    if (sum[1] == group_.size()) return;
  }
}

bool RankWatch::finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (error_) std::rethrow_exception(error_);
  return !cancelled_;
}

}  // namespace vmla
