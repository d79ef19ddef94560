// TransMLA's conversion of a layer against the same in NumPy float64 (tests/golden/rorope).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "convert/attention_weights.h"
#include "convert/best_conversion.h"
#include "convert/conversion_support.h"
#include "convert/rorope_layer.h"
#include "nn/shared_mla_attention.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;

constexpr std::int64_t kHeadDim = 8;

class Rorope : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = std::string(GetParam()) + ".safetensors";
    inputs_ = test::read_golden("best_recipe/" + name);
    golden_ = test::read_golden("rorope/" + name);
    source_.q = inputs_.at("weights.q");
    source_.k = inputs_.at("weights.k");
    source_.v = inputs_.at("weights.v");
    source_.o = inputs_.at("weights.o");
    const bool bias = inputs_.count("weights.k_bias") > 0;
    if (bias) {
      source_.q_bias = inputs_.at("weights.q_bias");
      source_.k_bias = inputs_.at("weights.k_bias");
      source_.v_bias = inputs_.at("weights.v_bias");
    }
    source_.shape = {source_.q.size(1),
                     source_.q.size(0) / kHeadDim,
                     source_.k.size(0) / kHeadDim,
                     kHeadDim,
                     bias,
                     false};
  }
  const at::Tensor& moment() const { return inputs_.at("moments.inputs"); }
  std::int64_t pairs() const { return source_.shape.kv_heads * kHeadDim / 2; }
  AttentionContext context(const std::string& kind) const {
    const at::Tensor angles = inputs_.at(kind + ".angles");
    const at::Tensor full = at::cat({angles, angles}, -1).unsqueeze(0);
    AttentionContext out;
    out.cos = full.cos();
    out.sin = full.sin();
    return out;
  }
  at::Tensor output(const SharedLayer& layer, const std::string& kind) const {
    SharedMlaAttention attention(layer.shape, layer.frequencies);
    set_weights(attention, layer.weights, at::kDouble, at::kCPU);
    return attention.forward(inputs_.at(kind + ".x"), context(kind));
  }
  // Plain attention.
  at::Tensor wanted(const std::string& kind) const {
    MhaAttention attention(source_.shape);
    AttentionWeights weights{{"q_proj.weight", source_.q},
                             {"k_proj.weight", source_.k},
                             {"v_proj.weight", source_.v},
                             {"o_proj.weight", source_.o}};
    if (source_.q_bias.defined()) {
      weights["q_proj.bias"] = source_.q_bias;
      weights["k_proj.bias"] = source_.k_bias;
      weights["v_proj.bias"] = source_.v_bias;
    }
    set_weights(attention, weights, at::kDouble, at::kCPU);
    return attention.forward(inputs_.at(kind + ".x"), context(kind));
  }

  std::map<std::string, at::Tensor> inputs_, golden_;
  SourceAttention source_;
};

TEST_P(Rorope, AttentionPutsOutWhatThePublishedMethodDoes) {
  const std::int64_t latent = GetParam()[0] == 'm' ? 9 : 11;
  for (const std::int64_t n : {1, 2, 4, 8}) {
    const SharedLayer layer = make_rorope_layer(source_, moment(), n, latent);
    ASSERT_EQ(layer.frequencies.size(0), n);
    for (const std::string kind : {"conversation", "text"}) {
      EXPECT_TRUE(
          close(output(layer, kind), golden_.at(fmt::format("{}.{}", n, kind)), {1e-8, 1e-8}))
          << n << " " << kind;
    }
  }
}

TEST_P(Rorope, AllComponentsAndAWholeLatentAreTheSource) {
  const SharedLayer layer =
      make_rorope_layer(source_, moment(), pairs(), largest_rorope_latent(source_.shape, pairs()));
  for (const std::string kind : {"conversation", "text"})
    EXPECT_TRUE(close(output(layer, kind), wanted(kind), {1e-8, 1e-8})) << kind;
  EXPECT_LT(layer.lost.rope, 1e-12);
  EXPECT_LT(layer.lost.latent, 1e-10);
}

// The rotation itself loses nothing: with a whole latent and one frequency a group, scores miss
// only the rotation of the components that lost RoPE, so without angles nothing is missed.
TEST_P(Rorope, WithoutAnglesAWholeLatentIsTheSource) {
  for (const std::int64_t n : {1, 2, 4, 8}) {
    const SharedLayer layer =
        make_rorope_layer(source_, moment(), n, largest_rorope_latent(source_.shape, n));
    for (const std::string kind : {"conversation", "text"}) inputs_.at(kind + ".angles").zero_();
    EXPECT_TRUE(close(output(layer, "text"), wanted("text"), {1e-8, 1e-8})) << n;
  }
}

TEST(RoropeWidths, ThePublishedOnes) {
  const AttentionShape shape{64, 4, 4, 16, false, false};
  EXPECT_EQ(rorope_candidates(shape, 64), (std::vector<std::int64_t>{8, 4, 2, 1}));
  EXPECT_EQ(rorope_candidates(shape, 16), (std::vector<std::int64_t>{4, 2, 1}));
  EXPECT_EQ(rorope_candidates(shape, 128), (std::vector<std::int64_t>{32}));
  EXPECT_EQ(rorope_candidates(shape, 3), (std::vector<std::int64_t>{1}));
  EXPECT_TRUE(is_rorope_width(shape, 16));
  EXPECT_FALSE(is_rorope_width(shape, 3));
  EXPECT_FALSE(is_rorope_width(shape, 12));
  EXPECT_FALSE(is_rorope_width(shape, 40));
  EXPECT_FALSE(is_rorope_width(shape, 0));
}

class RoropeConversion : public ::testing::TestWithParam<const char*> {
 protected:
  static BestOptions options(const fs::path& output, double budget) {
    BestOptions out;
    out.model = test::golden_dir() / "models" / GetParam();
    out.output_dir = output;
    out.overwrite = true;
    out.dtype = at::kFloat;
    out.calibration = test::golden_calibration(4);
    out.kv_budget = budget;
    out.curves = false;
    out.recipe = LayerRecipe::Transmla;
    out.steps.fit_steps = 0;
    out.steps.refit_output = out.steps.sequential = false;
    return out;
  }
};

TEST_P(RoropeConversion, FullBudgetIsTheSource) {
  const test::TempDir dir;
  const BestOptions whole = options(dir / "out", 1.0);
  const ConversionReport report = convert_best(whole);
  EXPECT_EQ(report.kv_bytes_per_token_after, report.kv_bytes_per_token_before);
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  for (const char* prompt : {"one", "text"}) {
    EXPECT_TRUE(close(test::golden_logits(dir / "out", prompt, fp32),
                      test::golden_logits(whole.model, prompt, fp32),
                      {1e-3, 1e-3}));
  }
}

TEST_P(RoropeConversion, KeepsTheBudgetAndItsPathsAgree) {
  const test::TempDir dir;
  for (const double budget : {0.5, 0.25, 0.125}) {
    const ConversionReport report = convert_best(options(dir / "out", budget));
    EXPECT_LE(static_cast<double>(report.kv_bytes_per_token_after),
              budget * static_cast<double>(report.kv_bytes_per_token_before));
    const Json ours = read_json(dir / "out/config.json").at("vlm_mla");
    EXPECT_EQ(ours.at("recipe"), "transmla");
    for (const Json& layer : ours.at("layers"))
      EXPECT_EQ(layer.at("rope_frequencies"), ours.at("layers")[0].at("rope_frequencies"));
    const at::NoGradGuard no_grad;
    const auto model = load_vlm(dir / "out");
    const at::Tensor expanded = test::hidden_by_path(*model, AttentionPath::Expanded);
    EXPECT_TRUE(
        close(test::hidden_by_path(*model, AttentionPath::Absorbed), expanded, {1e-4, 1e-4}))
        << budget;
  }
}

TEST_P(RoropeConversion, TheRopeKeysWidthMayBeGiven) {
  const test::TempDir dir;
  BestOptions wide = options(dir / "out", 0.5);
  wide.rope_dim = 4;
  for (const LayerReport& layer : convert_best(wide).layers) {
    EXPECT_EQ(layer.chosen->rope_dims, 4);
    EXPECT_GT(layer.chosen->rope_loss, 0.0);
  }
  for (const std::int64_t wrong : {3, 6, 12, 512}) {
    wide.rope_dim = wrong;
    EXPECT_TRUE(test::fails_with(
        ErrorKind::Usage, {"rope_dim_for_mla", "transmla"}, [&] { convert_best(wide); }));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RoropeConversion, ::testing::Values("mha", "gqa", "qwen2"));
INSTANTIATE_TEST_SUITE_P(Cases, Rorope, ::testing::Values("mha", "gqa"));

}  // namespace
}  // namespace vmla
