#include "eval/window_share.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "base/progress.h"
#include "eval/rank_watch.h"

namespace vmla {

std::optional<at::Tensor> share_windows(ProcessGroup& group,
                                        const WindowShare& share,
                                        const std::atomic<bool>* cancel) {
  check(share.batch_size >= 1,
        ErrorKind::Usage,
        "--batch_size: expected at least 1, got {}",
        share.batch_size);
  const at::Tensor table = at::zeros({share.windows, share.columns}, at::kDouble);
  auto* rows = table.mutable_data_ptr<double>();
  {
    Progress progress(share.what, share.windows, "window");
    RankWatch all(group, cancel, [&](std::int64_t windows) {
      progress.advance(windows, share.note ? share.note() : "");
    });
    for (std::int64_t begin = group.rank() * share.batch_size; begin < share.windows && !all.stop();
         begin += group.size() * share.batch_size) {
      const std::int64_t count = std::min(share.batch_size, share.windows - begin);
      share.work(begin, count, rows + begin * share.columns);
      all.add(count);
    }
    if (!all.finish()) return std::nullopt;
  }
  // Each number was zero on all ranks but one, so that this rounds nothing.
  group.all_reduce(table)->wait();
  return table;
}

}  // namespace vmla
