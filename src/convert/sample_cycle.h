// Samples again and again, in a new order each time round.
#pragma once

#include <cstdint>
#include <vector>

#include "data/sample_order.h"

namespace vmla {

class SampleCycle {
 public:
  SampleCycle(std::int64_t count, std::uint64_t seed) : count_(count), seed_(seed) {}

  std::int64_t count() const { return count_; }
  // An index below count, which must not be 0.
  std::int64_t next() {
    if (position_ % count_ == 0) order_ = shuffled_order(count_, seed_++);
    return order_[static_cast<std::size_t>(position_++ % count_)];
  }

 private:
  std::int64_t count_;
  std::uint64_t seed_;
  std::int64_t position_ = 0;
  std::vector<std::int64_t> order_;
};

}  // namespace vmla
