#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace vmla {
namespace {

TEST(Bootstrap, OfAMeanHasTheWidthOfItsStandardError) {
  std::vector<double> column;
  for (int i = 0; i < 4000; ++i) column.push_back(i % 4 == 0 ? 0.0 : 1.0);
  const Interval interval = bootstrap_means({column}, {2000, 1}).front();
  const double error = 1.96 * std::sqrt(0.75 * 0.25 / 4000);
  EXPECT_NEAR(interval.low, 0.75 - error, 0.1 * error);
  EXPECT_NEAR(interval.high, 0.75 + error, 0.1 * error);
}

TEST(Bootstrap, IsSettledByItsSeed) {
  const std::vector<double> column = {0, 0.3, 0.6, 0.9, 1, 1, 0, 0.3};
  const auto once = bootstrap_means({column}, {200, 5}).front();
  const auto again = bootstrap_means({column}, {200, 5}).front();
  const auto other = bootstrap_means({column}, {200, 6}).front();
  EXPECT_EQ(once.low, again.low);
  EXPECT_EQ(once.high, again.high);
  EXPECT_TRUE(once.low != other.low || once.high != other.high);
  // The same on every machine.
  EXPECT_DOUBLE_EQ(once.low, 0.2625);
  EXPECT_DOUBLE_EQ(once.high, 0.7503125);
}

TEST(Bootstrap, DrawsEachGroupByItself) {
  int seen = 0;
  const auto intervals = bootstrap({3, 1}, {20, 0}, [&](const Resample& drawn) {
    ++seen;
    EXPECT_EQ(drawn.size(), 2u);
    EXPECT_EQ(drawn[0].size(), 3u);
    for (const std::uint32_t index : drawn[0]) EXPECT_LT(index, 3u);
    EXPECT_EQ(drawn[1], std::vector<std::uint32_t>{0});
    return std::vector<double>{1.0, 2.0};
  });
  EXPECT_EQ(seen, 20);
  EXPECT_EQ(intervals[1].low, 2.0);
}

TEST(Bootstrap, PairedDifferencesOfEqualRunsAreZero) {
  const Interval interval = bootstrap_means({std::vector<double>(50, 0.0)}, {100, 0}).front();
  EXPECT_EQ(interval.low, 0.0);
  EXPECT_EQ(interval.high, 0.0);
}

McNemar of(int both, int only_a, int only_b, int neither) {
  std::vector<bool> a, b;
  const auto add = [&](int count, bool x, bool y) {
    a.insert(a.end(), static_cast<std::size_t>(count), x);
    b.insert(b.end(), static_cast<std::size_t>(count), y);
  };
  add(both, true, true);
  add(only_a, true, false);
  add(only_b, false, true);
  add(neither, false, false);
  return mcnemar(a, b);
}

TEST(McNemarTest, GivesTheExactBinomialAndItsMidP) {
  const McNemar test = of(5, 1, 9, 3);
  EXPECT_EQ(test.both, 5);
  EXPECT_EQ(test.only_a, 1);
  EXPECT_EQ(test.only_b, 9);
  EXPECT_EQ(test.neither, 3);
  EXPECT_NEAR(test.p_exact, 2.0 * 11 / 1024, 1e-12);
  EXPECT_NEAR(test.p_mid, 2.0 * 11 / 1024 - 10.0 / 1024, 1e-12);
}

TEST(McNemarTest, IsOneWhereNothingDiffersOrAllIsEven) {
  EXPECT_EQ(of(5, 0, 0, 3).p_exact, 1.0);
  EXPECT_EQ(of(5, 0, 0, 3).p_mid, 1.0);
  EXPECT_NEAR(of(0, 4, 4, 0).p_exact, 1.0, 1e-12);
  EXPECT_NEAR(of(0, 4, 4, 0).p_mid, 1.0, 1e-12);
}

TEST(McNemarTest, StaysRightForManyQuestions) {
  // Normal approximation of the mid-p: z = 200 / sqrt(20000).
  const McNemar test = of(0, 9900, 10100, 0);
  EXPECT_NEAR(test.p_mid, std::erfc(200 / std::sqrt(20000.0) / std::sqrt(2.0)), 1e-4);
}

}  // namespace
}  // namespace vmla
