#include "engine/sampler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/expect_close.h"

namespace vmla::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

at::Tensor row(std::vector<double> values) {
  return at::tensor(values, at::kFloat).unsqueeze(0);
}

// Logits of the given probabilities.
at::Tensor log_row(std::vector<double> probabilities) {
  for (double& p : probabilities) p = std::log(p);
  return row(std::move(probabilities));
}

GenerationOptions sampling(double temperature = 1.0) {
  GenerationOptions options;
  options.temperature = temperature;
  return options;
}

TEST(Sampler, GreedyTakesTheLargest) {
  Sampler sampler({}, {{}, {}}, 3, at::kCPU);
  const at::Tensor logits = at::cat({row({0, 2, 1}), row({-1, -3, -2})});
  EXPECT_TRUE(at::equal(sampler.next(logits), at::tensor({1, 0}, at::kLong)));
}

TEST(Sampler, PenaltyDividesPositiveAndMultipliesNegative) {
  const at::Tensor seen = at::tensor({1, 1, 0, 0}, at::kLong).to(at::kBool).unsqueeze(0);
  EXPECT_TRUE(
      close(penalise_repetition(row({3, -3, 3, -3}), seen, 1.5), row({2, -4.5, 3, -3}), {1e-6, 0}));
}

TEST(Sampler, PenaltyCountsThePromptAndWhatWasMade) {
  GenerationOptions options;
  options.repetition_penalty = 2.0;
  // Token 3 is in the prompt: 5 becomes 2.5, so that 2 wins with 4; then 4 becomes 2 and 1 wins.
  Sampler sampler(options, {{3, 3}}, 4, at::kCPU);
  const at::Tensor logits = row({0, 3, 4, 5});
  EXPECT_EQ(sampler.next(logits).item<std::int64_t>(), 2);
  EXPECT_EQ(sampler.next(logits).item<std::int64_t>(), 1);
  EXPECT_EQ(sampler.next(logits).item<std::int64_t>(), 3);  // 1.5, 2 and 2.5
}

TEST(Sampler, TemperatureDivides) {
  EXPECT_TRUE(close(warp_logits(row({1, -2}), sampling(0.5)), row({2, -4}), {1e-6, 0}));
}

TEST(Sampler, TopKKeepsTheLargestAndTheirEquals) {
  GenerationOptions options = sampling();
  options.top_k = 2;
  EXPECT_TRUE(
      close(warp_logits(row({1, 4, 3, 3, 0}), options), row({-kInf, 4, 3, 3, -kInf}), {0, 0}));
  options.top_k = 99;
  EXPECT_TRUE(close(warp_logits(row({1, 4, 3}), options), row({1, 4, 3}), {0, 0}));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesP) {
  GenerationOptions options = sampling();
  const at::Tensor logits = log_row({0.1, 0.5, 0.05, 0.35});
  const auto kept = [&](double p) {
    options.top_p = p;
    return at::isfinite(warp_logits(logits, options)).squeeze(0).to(at::kLong);
  };
  EXPECT_TRUE(at::equal(kept(0.8), at::tensor({0, 1, 0, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(kept(0.9), at::tensor({1, 1, 0, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(kept(0.3), at::tensor({0, 1, 0, 0}, at::kLong)));
  EXPECT_TRUE(at::equal(kept(1e-9), at::tensor({0, 1, 0, 0}, at::kLong)));
}

TEST(Sampler, TopPSeesTheTemperatureAndWhatTopKLeft) {
  GenerationOptions options = sampling(2.0);
  // At temperature 2, 0.81 : 0.16 : 0.01 : 0.02 become 9 : 4 : 1 : 1.41 (by square roots).
  options.top_k = 2;
  options.top_p = 0.7;  // of the two that are left, 9/13 = 0.69 is not enough
  const at::Tensor kept = at::isfinite(warp_logits(log_row({0.81, 0.16, 0.01, 0.02}), options));
  EXPECT_TRUE(at::equal(kept.squeeze(0).to(at::kLong), at::tensor({1, 1, 0, 0}, at::kLong)));
}

TEST(Sampler, MinPIsRelativeToTheLikeliest) {
  GenerationOptions options = sampling();
  options.min_p = 0.3;
  const at::Tensor kept = at::isfinite(warp_logits(log_row({0.6, 0.2, 0.17, 0.03}), options));
  EXPECT_TRUE(at::equal(kept.squeeze(0).to(at::kLong), at::tensor({1, 1, 0, 0}, at::kLong)));
}

TEST(Sampler, DrawsByProbability) {
  const std::vector<double> p{0.5, 0.3, 0.15, 0.05};
  Sampler sampler(sampling(), {{}}, 4, at::kCPU);
  const at::Tensor logits = log_row(p);
  constexpr int kDraws = 20000;
  std::vector<int> counts(4, 0);
  for (int i = 0; i < kDraws; ++i)
    ++counts[static_cast<std::size_t>(sampler.next(logits).item<std::int64_t>())];
  double chi_squared = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const double expected = kDraws * p[i];
    chi_squared += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_LT(chi_squared, 16.27);  // 3 degrees of freedom, 0.1 %
}

TEST(Sampler, NeverDrawsWhatIsLeftOut) {
  GenerationOptions options = sampling(5.0);
  options.top_k = 2;
  Sampler sampler(options, {{}}, 5, at::kCPU);
  for (int i = 0; i < 200; ++i) {
    const auto token = sampler.next(row({1, 2, 1.5, 0, -1})).item<std::int64_t>();
    EXPECT_TRUE(token == 1 || token == 2) << token;
  }
}

std::vector<std::int64_t> draws(std::uint64_t seed, std::size_t rows, std::int64_t of_row) {
  GenerationOptions options = sampling();
  options.seed = seed;
  Sampler sampler(options, std::vector<std::vector<std::int64_t>>(rows), 50, at::kCPU);
  std::vector<std::int64_t> out;
  for (int i = 0; i < 40; ++i) {
    const at::Tensor logits = at::zeros({static_cast<std::int64_t>(rows), 50});
    out.push_back(sampler.next(logits)[of_row].item<std::int64_t>());
  }
  return out;
}

TEST(Sampler, TheSeedDecides) {
  EXPECT_EQ(draws(7, 1, 0), draws(7, 1, 0));
  EXPECT_NE(draws(7, 1, 0), draws(8, 1, 0));
}

TEST(Sampler, RowsDrawIndependentlyOfOneAnother) {
  EXPECT_EQ(draws(7, 1, 0), draws(7, 3, 0));  // a row's numbers do not depend on the batch
  EXPECT_NE(draws(7, 3, 0), draws(7, 3, 1));
}

}  // namespace
}  // namespace vmla::test
