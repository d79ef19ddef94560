#include "nn/absorbed.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <tuple>
#include <vector>

#include "support/expect_close.h"

namespace vmla::test {
namespace {

// Products of the absorbed paths against at::matmul in fp64, on parts of a longer cache whose rest
// is NaN.
class AbsorbedProducts : public ::testing::TestWithParam<std::tuple<at::ScalarType, int, int>> {
 protected:
  at::ScalarType dtype() const { return std::get<0>(GetParam()); }
  std::int64_t batch() const { return std::get<1>(GetParam()); }
  std::int64_t rows() const { return std::get<2>(GetParam()); }
  Tolerance tolerance() const {
    return dtype() == at::kFloat ? Tolerance{1e-5, 1e-5} : Tolerance{0.1, 0.02};
  }
  at::Tensor random(at::IntArrayRef shape) const {
    at::manual_seed(3);
    return at::randn(shape).to(dtype());
  }
  // The first 9 of 13 tokens.
  at::Tensor part_of_cache(std::vector<std::int64_t> shape) const {
    shape[1] = 13;
    const at::Tensor cache = random(shape);
    cache.slice(1, 9).fill_(std::numeric_limits<float>::quiet_NaN());
    return cache.slice(1, 0, 9);
  }
};

TEST_P(AbsorbedProducts, HeadScores) {
  const at::Tensor q = random({batch(), 3, rows(), 8});
  const at::Tensor keys = part_of_cache({batch(), 0, 3, 8});
  const at::Tensor want = at::matmul(q.to(at::kDouble), keys.to(at::kDouble).permute({0, 2, 3, 1}));
  EXPECT_TRUE(close(head_scores(q, keys), want, tolerance()));
  EXPECT_FALSE(close(head_scores(q, keys.flip(2)), want, tolerance()));
}

TEST_P(AbsorbedProducts, LatentScores) {
  const at::Tensor q = random({batch(), 3 * rows(), 8});
  const at::Tensor latents = part_of_cache({batch(), 0, 8});
  const at::Tensor want = at::bmm(q.to(at::kDouble), latents.to(at::kDouble).transpose(1, 2));
  EXPECT_TRUE(close(latent_scores(q, latents), want, tolerance()));
  EXPECT_FALSE(close(latent_scores(q, latents.flip(1)), want, tolerance()));
}

TEST_P(AbsorbedProducts, MixedLatents) {
  const at::Tensor weights = random({batch(), 3 * rows(), 9}).to(at::kFloat).softmax(-1);
  const at::Tensor latents = part_of_cache({batch(), 0, 8});
  const at::Tensor want = at::bmm(weights.to(at::kDouble), latents.to(at::kDouble));
  const at::Tensor got = mix_latents(weights, latents);
  EXPECT_EQ(got.scalar_type(), dtype());
  EXPECT_TRUE(close(got, want, tolerance()));
  EXPECT_FALSE(close(mix_latents(weights, latents.flip(1)), want, tolerance()));
}

TEST_P(AbsorbedProducts, HeadWeights) {
  const at::Tensor x = random({batch(), 3, rows(), 8}), weight = random({3, 8, 5});
  const at::Tensor want = at::matmul(x.to(at::kDouble), weight.to(at::kDouble));
  EXPECT_TRUE(close(times_head_weights(x, weight), want, tolerance()));
  EXPECT_FALSE(close(times_head_weights(x, weight.flip(0)), want, tolerance()));
}

INSTANTIATE_TEST_SUITE_P(All,
                         AbsorbedProducts,
                         ::testing::Combine(::testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                                            ::testing::Values(1, 3),
                                            ::testing::Values(2, 50)));

}  // namespace
}  // namespace vmla::test
