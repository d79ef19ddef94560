// What makes a layer's conversion fast gives what the plain way gives.
#include "convert/best_layer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "convert/in_parallel.h"
#include "convert/row_products.h"
#include "nn/rope.h"
#include "nn/shared_mla_attention.h"
#include "support/expect_close.h"
#include "support/expect_error.h"

namespace vmla {
namespace {

using test::close;

// A layer whose inputs lie mostly along few directions, as a model's do, and what it sees.
struct RandomLayer {
  static constexpr std::int64_t kHidden = 48, kHeads = 4, kDim = 16, kTokens = 40;
  SourceAttention source;
  std::vector<StreamBatch> batches;
  std::vector<AttentionView> views;

  explicit RandomLayer(std::int64_t kv_heads) {
    at::manual_seed(11);
    const auto options = at::TensorOptions().dtype(at::kFloat);
    source.shape = {kHidden, kHeads, kv_heads, kDim, false, false};
    const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
      return at::randn({rows, columns}, options) * 0.3;
    };
    source.q = matrix(kHeads * kDim, kHidden);
    source.k = matrix(kv_heads * kDim, kHidden);
    source.v = matrix(kv_heads * kDim, kHidden);
    source.o = matrix(kHidden, kHeads * kDim);
    const at::Tensor spread = at::pow(0.93, at::arange(kHidden, options)) * 2.0;
    const RotaryEmbedding rope(kDim, 100.0, 4096, {});
    for (const bool is_text : {false, true}) {
      StreamBatch batch;
      batch.hidden = at::randn({4, kTokens, kHidden}, options) * spread;
      batch.real =
          at::arange(kTokens).unsqueeze(0) <
          at::tensor({kTokens, std::int64_t{7}, std::int64_t{2}, kTokens - 3}).unsqueeze(1);
      std::tie(batch.cos, batch.sin) =
          rope.cos_sin(at::arange(kTokens, at::kLong).unsqueeze(0), at::kFloat);
      batch.is_text = is_text;
      views.push_back(view(batch));
      batches.push_back(std::move(batch));
    }
  }

  AttentionView view(const StreamBatch& batch) const {
    AttentionView out;
    out.x = batch.hidden;
    const auto heads = [&](const at::Tensor& weight) {
      return at::linear(batch.hidden, weight).unflatten(-1, {-1, kDim});
    };
    out.q = heads(source.q);
    out.k = heads(source.k);
    out.v = heads(source.v);
    out.q_rot = apply_rope(out.q, batch.cos.unsqueeze(2), batch.sin.unsqueeze(2));
    out.k_rot = apply_rope(out.k, batch.cos.unsqueeze(2), batch.sin.unsqueeze(2));
    return out;
  }

  AttentionMoments moments(PairMoments pairs) const {
    MomentObserver observer(source.shape, source.o, false, pairs);
    for (std::size_t i = 0; i < batches.size(); ++i) observer.add(views[i], batches[i]);
    return observer.finish();
  }

  // What the source's attention adds, as what a converted one should.
  std::vector<LayerSample> samples() const {
    std::vector<LayerSample> out;
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const AttentionView& v = views[i];
      const at::Tensor mixed =
          expanded_attention(v.q_rot, v.k_rot, v.v, {}, 1.0 / std::sqrt(double{kDim}));
      out.push_back({v.x,
                     at::linear(mixed, source.o),
                     batches[i].real,
                     batches[i].context(),
                     batches[i].is_text});
    }
    return out;
  }

  ConvertedAttention converted(std::int64_t components, std::int64_t latent) const {
    return runnable(
        SharedLayerFactory(source, moments(PairMoments::EachAlone), {}).make(components, latent),
        source);
  }
};

class BestLayerOf : public ::testing::TestWithParam<std::int64_t> {};
INSTANTIATE_TEST_SUITE_P(KeyHeads, BestLayerOf, ::testing::Values(4, 2));

TEST_P(BestLayerOf, PairsAloneAreTheBlocksOfAllPairs) {
  const RandomLayer layer(GetParam());
  const AttentionMoments all = layer.moments(PairMoments::All),
                         alone = layer.moments(PairMoments::EachAlone);
  const at::Tensor blocks = all.pairs.unflatten(2, {3, -1}).unflatten(1, {3, -1}).diagonal(0, 2, 4);
  const double unit = blocks.abs().max().item<double>();
  EXPECT_TRUE(close(alone.pairs / unit, blocks / unit, {1e-5, 0}));
  EXPECT_FALSE(close(alone.pairs * 1.0001 / unit, blocks / unit, {1e-5, 0})) << "planted";
  const RopeFold want = fit_rope_fold(all.pairs, all.sensitivity, GetParam()),
                 got = fit_rope_fold(alone.pairs, alone.sensitivity, GetParam());
  EXPECT_TRUE(close(got.fold, want.fold, {1e-3, 1e-3}));
  EXPECT_TRUE(close(got.residual, want.residual, {1e-3, 1e-3}));
}

// What a search does from 1,024 dims on, here on few.
TEST_P(BestLayerOf, WalkingFindsTheSplitThatLookingFinds) {
  const RandomLayer layer(GetParam());
  const AttentionMoments moments = layer.moments(PairMoments::EachAlone);
  const SharedLayerFactory looks(layer.source, moments, {}),
      walks(layer.source, moments, {}, /*walks_from=*/0);
  std::int64_t start = 0;
  for (const std::int64_t budget : {10, 16, 24, 32, 48}) {
    const std::int64_t n = looks.best_components(budget);
    start = walks.best_components(budget, start);
    EXPECT_EQ(start, n) << budget;
    // What is judged is near it.
    EXPECT_EQ(looks.make_to_judge(n, budget).shape.components, n);
    const SharedLayer judged = walks.make_to_judge(n, budget);
    const double apart = static_cast<double>(judged.shape.components) / static_cast<double>(n);
    EXPECT_LE(std::abs(std::log2(apart)), 0.5) << budget;
    EXPECT_EQ(judged.shape.latent_dim,
              std::min(budget - 2 * judged.shape.components, walks.largest_latent()));
    // What is kept is as exact as without a walk.
    EXPECT_NEAR(walks.make(n, 4).lost.latent, looks.make(n, 4).lost.latent, 1e-12);
    // Each n by itself, those between the points of the grid too.
    double least = looks.loss(budget, n), most = least;
    for (std::int64_t m = 1; 2 * m < budget && m <= looks.largest_components(); ++m) {
      least = std::min(least, looks.loss(budget, m));
      most = std::max(most, looks.loss(budget, m));
    }
    EXPECT_LE(looks.loss(budget, n), 1.01 * least) << budget;
    EXPECT_GT(most, 1.1 * least) << "nothing to find";
  }
}

TEST_P(BestLayerOf, FitsIn16BitsAsIn32) {
  const RandomLayer layer(GetParam());
  const std::vector<LayerSample> samples = layer.samples();
  const auto error_after = [&](std::optional<at::ScalarType> dtype, double rate) {
    const ConvertedAttention made = layer.converted(4, 16);
    FitOptions options;
    options.steps = 60;
    options.learning_rate *= rate;
    options.compute_dtype = dtype;
    fit_layer(*made.attention, samples, options);
    for (const auto& [name, tensor] : weights_of(*made.attention)) {
      EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
      EXPECT_FALSE(tensor.requires_grad()) << name;
    }
    return layer_error(*made.attention, samples).share();
  };
  const double before = layer_error(*layer.converted(4, 16).attention, samples).share(),
               plain = error_after({}, 1.0), rounded = error_after(at::kBFloat16, 1.0);
  EXPECT_LT(plain, 0.8 * before);
  EXPECT_NEAR(rounded, plain, 0.02 * plain);
  EXPECT_GT(std::abs(error_after({}, 0.7) - plain), 0.02 * plain) << "planted: a smaller rate";
}

TEST_P(BestLayerOf, RefitTellsTheErrorItLeaves) {
  const RandomLayer layer(GetParam());
  const std::vector<LayerSample> samples = layer.samples();
  const ConvertedAttention made = layer.converted(4, 16);
  std::vector<at::Tensor> outputs;
  const LayerError told = refit_output(*made.attention, samples, &outputs),
                   seen = layer_error(*made.attention, samples);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const at::Tensor want = made.attention->forward(samples[i].x, samples[i].context);
    EXPECT_TRUE(close(outputs.at(i), want, {1e-5, 1e-5}));
  }
  EXPECT_NEAR(told.error, seen.error, 1e-4 * seen.error);
  EXPECT_NEAR(told.target, seen.target, 1e-5 * seen.target);
}

// In float16 so large inputs overflow, and the fit ends in NaN.
TEST_P(BestLayerOf, KeepsNoFitThatMadeItWorse) {
  const RandomLayer layer(GetParam());
  for (const bool fails : {true, false}) {
    std::vector<LayerSample> samples = layer.samples();
    FinishOptions options;
    StageSeconds seconds;
    options.seconds = &seconds;
    if (fails) {
      options.fit_dtype = at::kHalf;
      for (LayerSample& sample : samples) sample.x = sample.x * 1e5;
    }
    RecipeSteps steps;
    steps.fit_steps = 0;
    ConvertedAttention before = layer.converted(4, 16), made = layer.converted(4, 16);
    finish_layer(before, samples, steps, {});
    steps.fit_steps = 3;
    finish_layer(made, samples, steps, options);
    EXPECT_EQ(seconds.count("fit"), 1U);
    const AttentionWeights want = weights_of(*before.attention);
    for (const auto& [name, tensor] : weights_of(*made.attention))
      EXPECT_EQ(test::same_bits(tensor, want.at(name)), fails || name == "q_proj.weight") << name;
    if (fails) {
      EXPECT_EQ(made.chosen.fitted_error, made.chosen.output_error);
    } else {
      EXPECT_LT(made.chosen.fitted_error, made.chosen.output_error);
    }
  }
}

TEST(BestLayerSteps, WideLayersHaveWidthsInSteps) {
  at::manual_seed(6);
  const auto options = at::TensorOptions().dtype(at::kDouble);
  SourceAttention source;
  source.shape = {320, 4, 4, 80, false, false};
  source.q = source.k = source.v = at::randn({320, 320}, options);
  source.o = at::randn({320, 320}, options);
  AttentionMoments moments;
  moments.inputs = at::eye(320, options);
  moments.queries = at::eye(80, options).repeat({4, 1, 1});
  moments.sensitivity = at::ones({4}, options);
  moments.pairs = at::rand({4, 3, 3, 40}, options) + 2 * at::eye(3, options).unsqueeze(-1);
  const SharedLayerFactory factory(source, moments, {});
  EXPECT_EQ(budget_step(512), 16);
  EXPECT_EQ(budget_step(500), 1);
  for (const std::int64_t budget : {256, 304, 400, 640})
    EXPECT_EQ(factory.best_components(budget) % 8, 0) << budget;
  EXPECT_EQ(factory.best_components(640), 160) << "the whole";
  int odd = 0;
  for (const std::int64_t budget : {250, 252, 254, 260, 262})
    odd += factory.best_components(budget) % 8 != 0 ? 1 : 0;
  EXPECT_GT(odd, 0) << "narrow ones need no steps";
}

// TF32 keeps 11 significant bits and is exact where no more are there.
TEST(RowProducts, OfSplitFactorsAreAsExactAsFloat32) {
  at::manual_seed(4);
  const at::Tensor a = at::randn({600, 24}), b = at::randn({600, 16});
  const SplitFloats split = split_floats(a);
  EXPECT_TRUE(test::same_bits(split.high + split.low, a));
  const at::Tensor scaled = std::get<0>(at::frexp(split.high)) * 2048.0;
  EXPECT_TRUE(test::same_bits(scaled.round(), scaled));
  const at::Tensor want = a.to(at::kDouble).t().mm(b.to(at::kDouble)),
                   square = a.to(at::kDouble).t().mm(a.to(at::kDouble));
  const test::Tolerance tolerance{2e-4, 2e-6};  // sums of 600 products of size 1
  EXPECT_TRUE(close(row_products(split, split_floats(b)), want, tolerance));
  EXPECT_TRUE(close(row_squares(split), square, tolerance));
  EXPECT_TRUE(close(row_products(a, b), want, tolerance));
  EXPECT_TRUE(close(row_squares(a), square, tolerance));
  const SplitFloats rounded{split.high, at::zeros_like(split.low)};
  EXPECT_FALSE(close(row_squares(rounded), square, tolerance)) << "planted: TF32 alone";
}

TEST(InParallel, CallsAllAndTellsTheFirstError) {
  std::vector<std::atomic<int>> calls(100);
  in_parallel(100, [&](std::int64_t i) { ++calls[static_cast<std::size_t>(i)]; });
  for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
  in_parallel(0, [](std::int64_t) { FAIL(); });
  EXPECT_TRUE(test::fails_with(ErrorKind::Io, {"the 3rd"}, [] {
    in_parallel(9, [](std::int64_t i) {
      if (i == 3) fail(ErrorKind::Io, "the 3rd");
      if (i > 3) fail(ErrorKind::Io, "a later one");
    });
  }));
}

}  // namespace
}  // namespace vmla
