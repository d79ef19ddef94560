// Whitened factorisation on moments that the goldens do not have: singular, dead, badly scaled.
#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <limits>

#include "base/error.h"
#include "convert/factorize.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

using test::close;

constexpr std::int64_t kRows = 30, kDim = 20;

at::Tensor random(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn({rows, cols}, generator, at::TensorOptions().dtype(at::kDouble));
}

at::Tensor product(const Factors& f) {
  return f.up.mm(f.down);
}

// |X (M - product)t|^2 of the best product of this rank, from the singular values of X Mt.
double least_error(const at::Tensor& x, const at::Tensor& m, std::int64_t rank) {
  return at::linalg_svdvals(x.mm(m.t())).slice(0, rank).square().sum().item<double>();
}

double error_on(const at::Tensor& x, const at::Tensor& m, const Factors& f) {
  return (x.mm((m - product(f)).t())).square().sum().item<double>();
}

struct Inputs {
  const char* name;
  at::Tensor x;  // [tokens, E]
};

std::vector<Inputs> all_inputs() {
  at::Tensor dead = random(200, kDim, 2);
  dead.select(1, 3).zero_();
  at::Tensor spread = random(200, kDim, 3) * at::pow(10.0, -at::arange(kDim, at::kDouble) / 2.0);
  return {{"many", random(200, kDim, 1)},
          {"fewer tokens than dims", random(7, kDim, 4)},
          {"a dead channel", dead},
          {"ten decades", spread},
          {"one token", random(1, kDim, 5)},
          {"silence", at::zeros({5, kDim}, at::kDouble)}};
}

TEST(Whitened, IsTheBestOfItsRankOnWhatWasSeen) {
  const at::Tensor m = random(kRows, kDim, 9);
  for (const Inputs& inputs : all_inputs()) {
    SCOPED_TRACE(inputs.name);
    const at::Tensor moment = inputs.x.t().mm(inputs.x);
    const double total = inputs.x.mm(m.t()).square().sum().item<double>();
    for (const std::int64_t rank : {1, 5, 12, 20}) {
      for (const FactorMethod method : {FactorMethod::FullSvd, FactorMethod::Gram}) {
        const WhitenedFactors f = factorize_whitened(m, damped_root(moment, 0.0), rank, method);
        EXPECT_TRUE(at::isfinite(product(f.factors)).all().item<bool>());
        const double best = least_error(inputs.x, m, rank), got = error_on(inputs.x, m, f.factors);
        EXPECT_LT(got, best + 1e-10 * total + 1e-20) << rank;
        if (total > 0.0) {
          EXPECT_NEAR(f.retained, 1.0 - best / total, 1e-10);
        }
      }
    }
  }
}

// The planted error: the weights' own SVD is far from the best on spread inputs.
TEST(Whitened, TheWeightsAloneAreWorse) {
  const at::Tensor m = random(kRows, kDim, 9);
  const at::Tensor x = all_inputs()[3].x;
  EXPECT_GT(error_on(x, m, factorize(m, 5)), 10.0 * least_error(x, m, 5));
}

TEST(Whitened, WithEqualInputsItIsTheSvd) {
  const at::Tensor m = random(kRows, kDim, 9);
  const WhitenedFactors f = factorize_whitened(m, damped_root(at::eye(kDim, at::kDouble), 0.0), 6);
  EXPECT_TRUE(close(product(f.factors), product(factorize(m, 6)), {1e-12, 0}));
}

TEST(Whitened, FullRankLosesNothing) {
  const at::Tensor m = random(kRows, kDim, 9);
  for (const Inputs& inputs : all_inputs()) {
    SCOPED_TRACE(inputs.name);
    const at::Tensor root = damped_root(inputs.x.t().mm(inputs.x), 0.01);
    if (std::string(inputs.name) == "silence") continue;  // damping is relative: nothing to add
    EXPECT_TRUE(close(product(factorize_whitened(m, root, kDim).factors), m, {1e-12, 0}));
  }
}

TEST(Whitened, DampingIsAShareOfTheMeanDiagonal) {
  const at::Tensor x = random(7, kDim, 4);
  const at::Tensor moment = x.t().mm(x);
  for (const double damping : {0.0, 0.01, 0.5}) {
    const at::Tensor root = damped_root(moment, damping);
    const at::Tensor want =
        moment + at::eye(kDim, at::kDouble) * moment.diagonal().mean() * damping;
    EXPECT_TRUE(close(root.mm(root.t()), want, {1e-12, 0})) << damping;
  }
}

TEST(Whitened, SpectrumIsWhatTruncationLoses) {
  const at::Tensor m = random(kRows, kDim, 9);
  const at::Tensor x = all_inputs()[3].x;
  const at::Tensor values = whitened_spectrum(m, damped_root(x.t().mm(x), 0.0));
  const at::Tensor want = at::linalg_svdvals(x.mm(m.t())).square().slice(0, 0, kDim);
  EXPECT_TRUE(close(values, want, {1e-12 * want[0].item<double>(), 0}));
}

TEST(Whitened, NonFiniteMomentsAreRefused) {
  at::Tensor moment = at::eye(kDim, at::kDouble);
  moment[2][2] = std::numeric_limits<double>::quiet_NaN();
  try {
    damped_root(moment, 0.01);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Numeric);
  }
}

}  // namespace
}  // namespace vmla
