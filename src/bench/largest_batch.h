// How many sequences of a length one device can hold.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/session.h"
#include "model/vlm.h"

namespace vmla {

// The largest n in 1 .. limit with fits(n), 0 when there is none; who fits n fits all below.
std::int64_t largest_fitting(std::int64_t limit, const std::function<bool(std::int64_t)>& fits);

// The largest batch, at most `limit`, for which a cache of `tokens` tokens a row can be had and a
// decode step at that length runs; 0 when not even one row fits. Found by trying: doubling, then
// halving the interval. What the cache holds does not matter for that, so nothing is prefilled.
// Errors: ErrorKind::Usage (tokens or limit below 1).
std::int64_t largest_batch(const Vlm& model,
                           const SessionOptions& options,
                           std::int64_t tokens,
                           std::int64_t limit);

}  // namespace vmla
