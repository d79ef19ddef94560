#include "bench/largest_batch.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <new>

#include "base/error.h"

namespace vmla {
namespace {

bool fits(const Vlm& model, SessionOptions options, std::int64_t batch, std::int64_t tokens) {
  const c10::InferenceMode guard;
  if (!model.device().is_cpu()) c10::getDeviceAllocator(model.device().type())->emptyCache();
  try {
    Session session(model, batch, options);
    session.cache().reserve(tokens);
    session.cache().advance(tokens - 1);
    session.expect_tokens(1);
    const at::Tensor ids =
        at::zeros({batch}, at::TensorOptions().dtype(at::kLong).device(model.device()));
    session.step(ids).argmax(-1).cpu();
    return true;
  } catch (const c10::OutOfMemoryError&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

std::int64_t largest_fitting(std::int64_t limit, const std::function<bool(std::int64_t)>& fits) {
  std::int64_t good = 0, next = 1;
  while (fits(next)) {
    good = next;
    if (good == limit) return good;
    next = std::min(2 * next, limit);
  }
  std::int64_t bad = next;
  while (bad - good > 1) {
    const std::int64_t middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

std::int64_t largest_batch(const Vlm& model,
                           const SessionOptions& options,
                           std::int64_t tokens,
                           std::int64_t limit) {
  check(tokens >= 1 && limit >= 1,
        ErrorKind::Usage,
        "largest batch: expected at least one token and one row, got {} and {}",
        tokens,
        limit);
  return largest_fitting(limit,
                         [&](std::int64_t batch) { return fits(model, options, batch, tokens); });
}

}  // namespace vmla
