#include "bench/largest_batch.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

TEST(LargestBatch, FindsEveryThreshold) {
  for (std::int64_t limit = 1; limit <= 40; ++limit) {
    for (std::int64_t most = 0; most <= limit; ++most) {
      int tries = 0;
      const auto fits = [&](std::int64_t n) {
        ++tries;
        EXPECT_LE(n, limit);
        return n <= most;
      };
      EXPECT_EQ(largest_fitting(limit, fits), most) << limit;
      EXPECT_LE(tries, 14);
    }
  }
}

TEST(LargestBatch, RunsAStepAtFullLength) {
  TinyShape shape;
  shape.mla = SvdMethod::Joint;
  const auto model = make_tiny_model(shape);
  EXPECT_EQ(largest_batch(*model, {}, 40, 3), 3);
  EXPECT_THROW(largest_batch(*model, {}, 0, 3), Error);
}

}  // namespace
}  // namespace vmla::test
