#include "eval/rank_zero.h"

#include <ATen/ATen.h>

#include <exception>

#include "base/error.h"

namespace vmla {

void on_rank_zero(ProcessGroup& group, const std::function<void()>& work) {
  std::exception_ptr error;
  const at::Tensor kind = at::full({1}, -1, at::kLong);
  if (group.rank() == 0) {
    try {
      work();
    } catch (const Error& e) {
      error = std::current_exception();
      kind.fill_(static_cast<std::int64_t>(e.kind()));
    }
  }
  group.broadcast(kind, 0)->wait();
  if (error) std::rethrow_exception(error);
  const auto told = kind.item<std::int64_t>();
  check(told < 0,
        static_cast<ErrorKind>(told),
        "rank {} of {}: rank 0 cannot go on, for the reason that it gives",
        group.rank(),
        group.size());
}

}  // namespace vmla
