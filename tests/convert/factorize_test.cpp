#include "convert/factorize.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <limits>

#include "base/error.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

using test::close;

// How far above the least possible error the fast path may lie, as a share of the largest singular
// value (in the Frobenius norm).
constexpr double kExcess = 1e-7;

at::Tensor orthonormal(std::int64_t rows, std::int64_t cols, at::Generator& generator) {
  const auto options = at::TensorOptions().dtype(at::kDouble);
  return std::get<0>(at::linalg_qr(at::randn({rows, cols}, generator, options)));
}

// [rows, cols] with the given singular values.
at::Tensor with_spectrum(std::int64_t rows, std::int64_t cols, const at::Tensor& values) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(7);
  const std::int64_t n = values.size(0);
  return (orthonormal(rows, n, generator) * values).mm(orthonormal(cols, n, generator).t());
}

double error_of(const at::Tensor& m, const Factors& f) {
  return (m - f.up.mm(f.down)).norm().item<double>();
}

// The Frobenius error of the best approximation (Eckart and Young).
double least_error(const at::Tensor& values, std::int64_t rank) {
  return values.slice(0, rank).norm().item<double>();
}

::testing::AssertionResult near_optimal(const at::Tensor& m,
                                        const at::Tensor& values,
                                        const Factors& f) {
  const std::int64_t rank = f.down.size(0);
  const double got = error_of(m, f), best = least_error(values, rank);
  const double allowed = best + kExcess * values.max().item<double>();
  if (got <= allowed) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << fmt::format("rank {}: error {:.6g}, least possible {:.6g}, allowed {:.6g}",
                        rank,
                        got,
                        best,
                        allowed);
}

struct Spectrum {
  const char* name;
  at::Tensor values;  // [n], descending
};

std::vector<Spectrum> spectra(std::int64_t n) {
  const at::Tensor steps = at::arange(n, at::kDouble) / static_cast<double>(n - 1);
  at::Tensor deficient = 1.0 - 0.9 * steps;
  deficient.slice(0, n / 3).zero_();
  at::Tensor pairs = 1.0 - 0.9 * steps;
  pairs.slice(0, 1, n, 2).copy_(pairs.slice(0, 0, n - n % 2, 2));
  at::Tensor spike = at::full({n}, 1e-3, at::kDouble);
  spike[0] = 1e3;
  return {{"even", 1.0 - 0.9 * steps},
          {"twelve decades", at::pow(10.0, -12.0 * steps)},
          {"rank deficient", deficient},
          {"equal pairs", pairs},
          {"all equal", at::ones({n}, at::kDouble)},
          {"one dominates", spike},
          {"tiny", 1e-30 * (1.0 - 0.9 * steps)},
          {"zero", at::zeros({n}, at::kDouble)}};
}

struct Shape {
  std::int64_t rows, cols;
};

class Factorize : public ::testing::TestWithParam<Shape> {};

TEST_P(Factorize, FastPathIsAsGoodAsTheFullSvd) {
  const auto [rows, cols] = GetParam();
  const std::int64_t n = std::min(rows, cols);
  for (const Spectrum& spectrum : spectra(n)) {
    SCOPED_TRACE(spectrum.name);
    const at::Tensor m = with_spectrum(rows, cols, spectrum.values);
    for (const std::int64_t rank : {std::int64_t{1}, n / 4, n / 2, n - 1, n}) {
      const Factors fast = factorize(m, rank, FactorMethod::Gram);
      const Factors full = factorize(m, rank, FactorMethod::FullSvd);
      EXPECT_TRUE(near_optimal(m, spectrum.values, fast));
      EXPECT_TRUE(near_optimal(m, spectrum.values, full));
      const at::Tensor identity = at::eye(rank, at::kDouble);
      EXPECT_TRUE(close(fast.down.mm(fast.down.t()), identity, {1e-12, 0}));
      EXPECT_TRUE(close(full.down.mm(full.down.t()), identity, {1e-12, 0}));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         Factorize,
                         ::testing::Values(Shape{120, 80}, Shape{80, 120}, Shape{90, 90}));

// The retained energy that the report gives is read off the columns of up.
TEST(Factorize, ColumnsOfUpHaveTheLengthsOfTheSingularValues) {
  for (const auto& [rows, cols] : {Shape{120, 80}, Shape{80, 120}}) {
    const at::Tensor values = 1.0 - 0.9 * at::arange(80, at::kDouble) / 79.0;
    const at::Tensor m = with_spectrum(rows, cols, values);
    for (const FactorMethod method : {FactorMethod::Gram, FactorMethod::FullSvd}) {
      const Factors f = factorize(m, 30, method);
      EXPECT_TRUE(close(f.up.norm(2, 0), values.slice(0, 0, 30), {1e-10, 0}));
    }
  }
}

TEST(Factorize, BothPathsGiveTheSameProductWhereTheCutIsClear) {
  at::Tensor values = 1.0 - 0.5 * at::arange(80, at::kDouble) / 79.0;
  values.slice(0, 20).mul_(0.5);
  for (const auto& [rows, cols] : {Shape{120, 80}, Shape{80, 120}}) {
    const at::Tensor m = with_spectrum(rows, cols, values);
    const Factors fast = factorize(m, 20, FactorMethod::Gram);
    const Factors full = factorize(m, 20, FactorMethod::FullSvd);
    EXPECT_TRUE(close(fast.up.mm(fast.down), full.up.mm(full.down), {1e-12, 0}));
  }
}

// The tolerance above is worth something: a turn of one kept direction by 1e-2 into the lost ones
// is found, and so is a fast path in single precision on the ill-conditioned matrix.
TEST(Factorize, PlantedErrorsAreFound) {
  const at::Tensor values = 1.0 - 0.9 * at::arange(80, at::kDouble) / 79.0;
  const at::Tensor m = with_spectrum(120, 80, values);
  Factors turned = factorize(m, 20, FactorMethod::Gram);
  const at::Tensor lost = factorize(m, 80, FactorMethod::Gram).down[60];
  turned.down[10] = turned.down[10] * std::cos(1e-2) + lost * std::sin(1e-2);
  turned.up = m.mm(turned.down.t());
  EXPECT_FALSE(near_optimal(m, values, turned));

  const at::Tensor decades = at::pow(10.0, -12.0 * at::arange(80, at::kDouble) / 79.0);
  const at::Tensor ill = with_spectrum(120, 80, decades);
  const at::Tensor single = ill.to(at::kFloat);
  const at::Tensor vectors = std::get<1>(at::linalg_eigh(single.t().mm(single)));
  const at::Tensor basis = vectors.narrow(1, 40, 40).to(at::kDouble);
  EXPECT_FALSE(near_optimal(ill, decades, {ill.mm(basis), basis.t()}));
}

TEST(Factorize, SmallMatricesTakeTheFullSvd) {
  const at::Tensor m = with_spectrum(120, 80, 1.0 - 0.9 * at::arange(80, at::kDouble) / 79.0);
  EXPECT_TRUE(test::same_bits(factorize(m, 20).up, factorize(m, 20, FactorMethod::FullSvd).up));
}

TEST(Factorize, RefusesNonFiniteWeightsAndBadRanks) {
  at::Tensor m = at::ones({6, 4}, at::kBFloat16);
  for (const std::int64_t rank : {0, -1, 5}) {
    try {
      factorize(m, rank);
      FAIL() << rank;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Internal);
    }
  }
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    m[3][2] = bad;
    for (const FactorMethod method : {FactorMethod::Gram, FactorMethod::FullSvd}) {
      try {
        factorize(m, 2, method);
        FAIL() << bad;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::Numeric);
      }
    }
  }
}

}  // namespace
}  // namespace vmla
