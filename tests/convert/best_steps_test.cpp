// Each step of the recipe "best" against the same step in NumPy float64 (tests/golden/best_recipe).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "convert/attention_moments.h"
#include "convert/attention_weights.h"
#include "convert/layer_fit.h"
#include "convert/metric_low_rank.h"
#include "convert/output_refit.h"
#include "convert/per_head_layer.h"
#include "convert/shared_layer.h"
#include "nn/rope.h"
#include "nn/shared_mla_attention.h"
#include "support/expect_close.h"
#include "support/golden.h"

namespace vmla {
namespace {

using test::close;

constexpr test::Tolerance kDouble{1e-8, 1e-8};
constexpr std::int64_t kHeadDim = 8;

class BestSteps : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    golden_ = test::read_golden(std::string("best_recipe/") + GetParam() + ".safetensors");
    source_.q = at("weights.q");
    source_.k = at("weights.k");
    source_.v = at("weights.v");
    source_.o = at("weights.o");
    if (has("weights.k_bias")) {
      source_.q_bias = at("weights.q_bias");
      source_.k_bias = at("weights.k_bias");
      source_.v_bias = at("weights.v_bias");
    }
    source_.shape = {source_.q.size(1),
                     source_.q.size(0) / kHeadDim,
                     source_.k.size(0) / kHeadDim,
                     kHeadDim,
                     source_.k_bias.defined(),
                     false};
    moments_ = {at("moments.inputs"),
                at("moments.queries"),
                at("moments.sensitivity"),
                at("moments.pairs")};
  }
  bool has(const std::string& name) const { return golden_.count(name) > 0; }
  at::Tensor at(const std::string& name) const { return golden_.at(name); }

  StreamBatch batch(const std::string& kind) const {
    StreamBatch out;
    out.hidden = at(kind + ".x");
    const at::Tensor lengths = at(kind + ".lengths").unsqueeze(1);
    out.real = at::arange(out.hidden.size(1), at::kLong).unsqueeze(0) < lengths;
    const at::Tensor angles = at(kind + ".angles");
    const at::Tensor full = at::cat({angles, angles}, -1).unsqueeze(0);
    out.cos = full.cos();
    out.sin = full.sin();
    out.is_text = kind == "text";
    return out;
  }
  AttentionView view(const StreamBatch& batch) const {
    AttentionView out;
    out.x = batch.hidden;
    const auto heads = [&](const at::Tensor& weight, const at::Tensor& bias) {
      return at::linear(batch.hidden, weight, bias).unflatten(-1, {-1, kHeadDim});
    };
    out.q = heads(source_.q, source_.q_bias);
    out.k = heads(source_.k, source_.k_bias);
    out.v = heads(source_.v, source_.v_bias);
    out.q_rot = apply_rope(out.q, batch.cos.unsqueeze(2), batch.sin.unsqueeze(2));
    out.k_rot = apply_rope(out.k, batch.cos.unsqueeze(2), batch.sin.unsqueeze(2));
    return out;
  }
  AttentionMoments observed(const std::vector<StreamBatch>& batches) const {
    MomentObserver observer(source_.shape, source_.o, source_.k_bias.defined());
    for (const StreamBatch& b : batches) observer.add(view(b), b);
    return observer.finish();
  }
  void expect_moments(const AttentionMoments& got) const {
    EXPECT_TRUE(close(got.inputs, moments_.inputs, kDouble));
    EXPECT_TRUE(close(got.queries, moments_.queries, kDouble));
    EXPECT_TRUE(close(got.sensitivity, moments_.sensitivity, kDouble));
    EXPECT_TRUE(close(got.pairs, moments_.pairs, kDouble));
  }
  RopeFold golden_fold() const { return {at("fold.fold"), at("fold.residual")}; }
  at::Tensor pair_cost() const {
    return (at("fold.residual") * moments_.sensitivity.unsqueeze(1))
               .unflatten(0, {source_.shape.kv_heads, -1})
               .sum(1) /
           static_cast<double>(kHeadDim);
  }

  std::map<std::string, at::Tensor> golden_;
  SourceAttention source_;
  AttentionMoments moments_;
};

TEST_P(BestSteps, MomentsOfAttention) {
  expect_moments(observed({batch("conversation"), batch("text")}));
}

TEST_P(BestSteps, MomentsDoNotDependOnBatchesAndPadding) {
  StreamBatch padded = batch("text");
  padded.hidden =
      at::cat({padded.hidden, at::full({1, 2, source_.shape.hidden}, 1e3, at::kDouble)}, 1);
  padded.real = at::cat({padded.real, at::zeros({1, 2}, at::kBool)}, 1);
  padded.cos = at::cat({padded.cos, padded.cos.slice(1, 0, 2)}, 1);
  padded.sin = at::cat({padded.sin, padded.sin.slice(1, 0, 2)}, 1);
  std::vector<StreamBatch> batches{padded};
  for (std::int64_t row = 0; row < 2; ++row) {
    StreamBatch one = batch("conversation");
    one.hidden = one.hidden.slice(0, row, row + 1);
    one.real = one.real.slice(0, row, row + 1);
    batches.push_back(one);
  }
  expect_moments(observed(batches));
}

TEST_P(BestSteps, FoldedAverageRotation) {
  const RopeFold got = fit_rope_fold(moments_.pairs, moments_.sensitivity, source_.shape.kv_heads);
  EXPECT_TRUE(close(got.fold, at("fold.fold"), kDouble));
  EXPECT_TRUE(close(got.residual, at("fold.residual"), kDouble));
  const RopeFold none = no_rope_fold(moments_.pairs, source_.shape.kv_heads);
  EXPECT_GT(none.residual.sum().item<double>(), 1.5 * got.residual.sum().item<double>());
}

TEST_P(BestSteps, SharedComplexRope) {
  const SharedRopeComponents components(
      {source_.k, source_.k_bias, source_.shape.kv_heads}, moments_.inputs, pair_cost());
  EXPECT_TRUE(close(components.energies(), at("shared.energies"), kDouble));
  const at::Tensor frequencies = at("shared.frequencies");
  const std::int64_t n = frequencies.size(0), heads = source_.shape.heads;
  const auto selection = components.select(n, heads);
  EXPECT_TRUE(at::equal(selection.frequencies, frequencies));
  EXPECT_TRUE(close(selection.rest, at("shared.rest"), kDouble));
  // sum_m w_hm k_m of each KV head, whatever the eigenvectors' phases.
  at::Tensor rows = selection.weight;
  if (selection.bias.defined()) rows = at::cat({rows, selection.bias.unsqueeze(1)}, 1);
  const at::Tensor keys =
      at::complex(rows.slice(0, 0, n).contiguous(), rows.slice(0, n).contiguous());
  const at::Tensor w = at::view_as_complex(selection.mix.contiguous());
  const std::int64_t group = heads / source_.shape.kv_heads;
  at::Tensor given =
      at::zeros({source_.shape.kv_heads, 2, kHeadDim / 2, rows.size(1)}, at::kDouble);
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t m = 0; m < n; ++m) {
      const at::Tensor part = w[h][m] * keys[m] / static_cast<double>(group);
      const auto j = frequencies[m].item<std::int64_t>();
      given[h / group][0][j] += at::real(part);
      given[h / group][1][j] += at::imag(part);
    }
  }
  EXPECT_TRUE(close(given.flatten(0, 2), at("shared.given"), kDouble));
  const auto all = components.select(components.size(), heads);
  EXPECT_LT(all.rest.abs().max().item<double>(), 1e-10);
}

TEST_P(BestSteps, LowRankInTheOutputMetric) {
  const SharedLayerFactory factory(source_, moments_, {});
  const std::int64_t n = at("shared.frequencies").size(0), latent = GetParam()[0] == 'm' ? 9 : 7;
  const SharedLayer layer = factory.make(n, latent);
  const auto& w = layer.weights;
  const at::Tensor product = at::cat({w.at("kv_proj.up_k.weight"), w.at("kv_proj.up_v.weight")})
                                 .mm(w.at("kv_proj.down_kv.weight"));
  EXPECT_TRUE(close(product, at("latent.product"), kDouble));
  const at::Tensor energies = at("latent.energies");
  EXPECT_NEAR(
      layer.lost.latent, (energies.slice(0, latent).sum() / energies.sum()).item<double>(), 1e-10);
}

TEST_P(BestSteps, SplitOfABudget) {
  RecipeSteps steps;
  steps.split_gamma = 4.0;  // the recipe's
  const SharedLayerFactory factory(source_, moments_, steps);
  EXPECT_EQ(factory.best_components(14), at("split.losses").argmin().item<std::int64_t>() + 1);
  EXPECT_EQ(factory.best_components(3), 1);
  EXPECT_EQ(factory.best_components(2 * source_.shape.kv_heads * kHeadDim),
            source_.shape.kv_heads * kHeadDim / 2);
}

TEST_P(BestSteps, PairsOfEachHeadByLeastSquares) {
  const std::int64_t rope_dim = at("pairs.kept").size(1);
  for (const bool fold : {true, false}) {
    const std::string label = fold ? "pairs" : "pairs_at_angle_0";
    const PairSelection got =
        select_pairs(moments_.pairs, moments_.sensitivity, source_.shape.kv_heads, rope_dim, fold);
    EXPECT_TRUE(at::equal(got.kept, at(label + ".kept"))) << label;
    EXPECT_TRUE(close(got.fold, at(label + ".fold"), kDouble)) << label;
    EXPECT_TRUE(close(got.lost, at(label + ".lost"), kDouble)) << label;
  }
  const PairSelection all =
      select_pairs(moments_.pairs, moments_.sensitivity, source_.shape.kv_heads, kHeadDim, true);
  EXPECT_LT(all.lost.abs().max().item<double>(), 1e-10);
}

TEST_P(BestSteps, PerHeadLowRankInTheOutputMetric) {
  const std::int64_t rope_dim = at("pairs.kept").size(1), latent = GetParam()[0] == 'm' ? 9 : 7;
  const PerHeadLayer layer = PerHeadLayerFactory(source_, moments_, {}).make(rope_dim, latent);
  const auto& w = layer.weights;
  const at::Tensor product = at::cat({w.at("kv_proj.up_k.weight"), w.at("kv_proj.up_v.weight")})
                                 .mm(w.at("kv_proj.down_kv.weight"));
  EXPECT_TRUE(close(product, at("per_head.product"), kDouble));
  EXPECT_TRUE(at::equal(layer.kept, at("pairs.kept")));
}

TEST_P(BestSteps, OutputRefit) {
  OutputRefit refit(source_.o);
  for (const std::string kind : {"conversation", "text"}) {
    const at::Tensor z = at("refit.z." + kind), target = at("refit.target." + kind);
    refit.add(z.slice(0, 0, 7), target.slice(0, 0, 7), kind == "text");
    refit.add(z.slice(0, 7), target.slice(0, 7), kind == "text");
  }
  EXPECT_TRUE(close(refit.solve(), at("refit.o"), kDouble));
}

TEST_P(BestSteps, FitTakesTorchsSteps) {
  const std::int64_t n = at("fit.frequencies").size(0),
                     latent = at("fit.start.kv_proj.down_kv.weight").size(0);
  SharedMlaAttention attention({source_.shape, n, latent}, at("fit.frequencies"));
  AttentionWeights start;
  for (const auto& [name, tensor] : golden_) {
    if (name.starts_with("fit.start.")) start[name.substr(10)] = tensor;
  }
  set_weights(attention, start, at::kDouble, at::kCPU);
  std::vector<LayerSample> samples;
  for (const std::string kind : {"conversation", "text"}) {
    const StreamBatch b = batch(kind);
    samples.push_back({b.hidden, at("fit.target." + kind), b.real, b.context(), b.is_text});
  }
  const at::Tensor losses = at("fit.losses");
  EXPECT_NEAR(layer_error(attention, samples).error, losses[0].item<double>(), 1e-8);
  FitOptions options;
  options.steps = losses.size(0);
  fit_layer(attention, samples, options);
  const AttentionWeights got = weights_of(attention);
  for (const auto& [name, tensor] : golden_) {
    if (!name.starts_with("fit.end.")) continue;
    EXPECT_TRUE(close(got.at(name.substr(8)), tensor, {1e-6, 1e-6})) << name;
    EXPECT_FALSE(got.at(name.substr(8)).requires_grad()) << name;
  }
  EXPECT_TRUE(test::same_bits(got.at("q_proj.weight"), start.at("q_proj.weight")));
}

INSTANTIATE_TEST_SUITE_P(Cases, BestSteps, ::testing::Values("mha", "gqa"));

TEST(BestStepsAlone, DeadChannelsAndFewTokensStayFinite) {
  const AttentionShape shape{16, 4, 2, 8, false, false};
  SourceAttention source;
  source.shape = shape;
  const auto options = at::TensorOptions().dtype(at::kDouble);
  at::manual_seed(3);
  source.q = at::randn({32, 16}, options);
  source.k = at::randn({16, 16}, options);
  source.v = at::randn({16, 16}, options);
  source.o = at::randn({16, 32}, options);
  source.k.slice(0, 0, 8).zero_();  // a KV head without keys
  StreamBatch batch;
  batch.hidden = at::randn({1, 5, 16}, options);
  batch.hidden.select(2, 3).zero_();
  batch.real = at::ones({1, 5}, at::kBool);
  const at::Tensor angles =
      at::arange(5, options).unsqueeze(1) * at::pow(0.1, at::arange(4, options));
  batch.cos = at::cat({angles, angles}, 1).cos().unsqueeze(0);
  batch.sin = at::cat({angles, angles}, 1).sin().unsqueeze(0);
  AttentionView view;
  view.x = batch.hidden;
  view.q = view.x.matmul(source.q.t()).unflatten(-1, {-1, 8});
  view.k = view.x.matmul(source.k.t()).unflatten(-1, {-1, 8});
  view.v = view.x.matmul(source.v.t()).unflatten(-1, {-1, 8});
  view.q_rot = apply_rope(view.q, batch.cos.unsqueeze(2), batch.sin.unsqueeze(2));
  view.k_rot = apply_rope(view.k, batch.cos.unsqueeze(2), batch.sin.unsqueeze(2));
  MomentObserver observer(shape, source.o, false);
  observer.add(view, batch);
  const AttentionMoments moments = observer.finish();
  for (const auto& [name, tensor] : SharedLayerFactory(source, moments, {}).make(5, 16).weights) {
    if (!tensor.defined()) continue;
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
  }
  for (const auto& [name, tensor] : PerHeadLayerFactory(source, moments, {}).make(4, 16).weights) {
    if (!tensor.defined()) continue;
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
  }
}

}  // namespace
}  // namespace vmla
