#include "convert/budget_allocation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace vmla {
namespace {

// loss = weight * budget^-power
LayerCurve power_law(double weight, double power) {
  LayerCurve curve;
  for (const double b : {16.0, 32.0, 64.0, 128.0}) {
    curve.budgets.push_back(b);
    curve.losses.push_back(weight * std::pow(b, -power));
  }
  return curve;
}

double total_loss(const std::vector<LayerCurve>& curves, const std::vector<std::int64_t>& budgets) {
  double sum = 0.0;
  for (std::size_t i = 0; i < curves.size(); ++i)
    sum += curve_at(curves[i], static_cast<double>(budgets[i]));
  return sum;
}

TEST(BudgetAllocation, CurvesAreRunningMinimaInLogarithms) {
  const LayerCurve curve{{10.0, 20.0, 40.0}, {4.0, 1.0, 2.0}};
  EXPECT_NEAR(curve_at(curve, 20.0), 1.0, 1e-12);
  EXPECT_NEAR(curve_at(curve, 14.142135623730951), 2.0, 1e-9);
  EXPECT_NEAR(curve_at(curve, 40.0), 1.0, 1e-12) << "more numbers cost no more";
  EXPECT_NEAR(curve_at(curve, 5.0), 16.0, 1e-9) << "the nearest segment goes on";
}

TEST(BudgetAllocation, ComponentsLieOnLinesInLogarithms) {
  const LayerCurve curve{{10.0, 20.0, 80.0}, {4.0, 2.0, 1.0}, {4, 16, 64}};
  EXPECT_EQ(components_at(curve, 20.0), 16);
  EXPECT_EQ(components_at(curve, 14.142135623730951), 8);
  EXPECT_EQ(components_at(curve, 40.0), 32);
  EXPECT_EQ(components_at(curve, 5.0), 4);
  EXPECT_EQ(components_at(curve, 100.0), 64);
}

TEST(BudgetAllocation, EqualCurvesShareEqually) {
  const std::vector<LayerCurve> curves(4, power_law(1.0, 1.5));
  EXPECT_EQ(allocate_budget(curves, 200, 0.5, 256), (std::vector<std::int64_t>{50, 50, 50, 50}));
}

TEST(BudgetAllocation, FindsTheLeastSumOfThreeLayers) {
  const std::vector<LayerCurve> curves{
      power_law(8.0, 1.0), power_law(1.0, 1.0), power_law(50.0, 2.0)};
  constexpr std::int64_t kTotal = 150, kFloor = 25;
  const std::vector<std::int64_t> got = allocate_budget(curves, kTotal, 0.5, 128);
  EXPECT_EQ(std::accumulate(got.begin(), got.end(), std::int64_t{0}), kTotal);
  double best = 1e9;
  for (std::int64_t a = kFloor; a <= 128; ++a) {
    for (std::int64_t b = kFloor; b <= 128; ++b) {
      const std::int64_t c = kTotal - a - b;
      if (c >= kFloor && c <= 128) best = std::min(best, total_loss(curves, {a, b, c}));
    }
  }
  EXPECT_LE(total_loss(curves, got), best * 1.002);
  EXPECT_GT(total_loss(curves, {50, 50, 50}), best * 1.05) << "an even split is not it";
}

TEST(BudgetAllocation, KeepsFloorAndCeiling) {
  const std::vector<LayerCurve> curves{power_law(1e6, 1.0), power_law(1e-6, 1.0)};
  EXPECT_EQ(allocate_budget(curves, 100, 0.75, 256), (std::vector<std::int64_t>{62, 38}));
  EXPECT_EQ(allocate_budget(curves, 100, 0.25, 60), (std::vector<std::int64_t>{60, 40}));
}

}  // namespace
}  // namespace vmla
