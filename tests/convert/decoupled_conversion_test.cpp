// Conversions whose image and text tokens have factors of their own (--modality decoupled).
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "convert/calibration_data.h"
#include "convert/conversion_plan.h"
#include "convert/conversion_support.h"
#include "convert/decoupled_layer.h"
#include "convert/factorize.h"
#include "convert/layer_converter.h"
#include "convert/moments.h"
#include "convert/recipe.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::fails;
using test::golden_logits;

class DecoupledConversion : public ::testing::Test {
 protected:
  ConversionOptions decoupled(const std::string& model, const std::string& out = "out") const {
    ConversionOptions options = test::golden_conversion(model, dir_ / out);
    options.statistics.calibration = test::golden_calibration(4);
    options.statistics.calibration_cache = dir_ / "cache";
    options.statistics.factorization = Factorization::Whitened;
    options.statistics.modality = Modality::Decoupled;
    options.overwrite = true;
    return options;
  }
  // [K_nope; V] by one set of factors: "kv_proj", "kv_proj_img" or "kv_proj_text".
  at::Tensor product(const std::string& factors,
                     std::int64_t layer,
                     const std::string& model = "out") const {
    const Checkpoint out = Checkpoint::open(dir_ / model);
    const auto get = [&](const std::string& name) {
      return out
          .tensor(fmt::format(
              "language_model.model.layers.{}.self_attn.{}.{}.weight", layer, factors, name))
          .to(at::kDouble);
    };
    return at::cat({get("up_k"), get("up_v")}).mm(get("down_kv"));
  }
  // [K_nope; V] of the source.
  static at::Tensor whole(const ConversionOptions& options, std::int64_t layer) {
    const Checkpoint source = Checkpoint::open(options.model);
    const ConversionPlan plan = plan_conversion(source, options);
    const SplitRows rows = LayerConverter(source, plan, options).rows(layer);
    return at::cat({rows.k_nope.weight, rows.v.weight}).to(at::kDouble);
  }
  static Moments moments(const ConversionOptions& options) {
    const Checkpoint source = Checkpoint::open(options.model);
    const ModelConfig config = parse_model_config(source.config(), "config.json");
    MomentsOptions how;
    how.cache_dir = options.statistics.calibration_cache;
    return Moments::prepare(
        source, CalibrationSet::load(options.model, config, options.statistics.calibration), how);
  }
  // |(M - up down) root|^2
  static double error(const at::Tensor& m,
                      const at::Tensor& approximation,
                      const at::Tensor& root) {
    return (m - approximation).mm(root).square().sum().item<double>();
  }
  test::TempDir dir_;
};

TEST_F(DecoupledConversion, FactorsEqualTheRecipe) {
  constexpr test::Tolerance kProducts{1e-5, 0};
  for (const std::string model : {"mha", "gqa"}) {
    SCOPED_TRACE(model);
    const auto want = test::read_golden("decoupled/" + model + ".safetensors");
    convert_checkpoint(decoupled(model));
    for (std::int64_t i = 0; i < 2; ++i) {
      const at::Tensor& image = want.at(fmt::format("{}.layers.{}.image", model, i));
      const at::Tensor& text = want.at(fmt::format("{}.layers.{}.text", model, i));
      EXPECT_TRUE(close(product("kv_proj_img", i), image, kProducts)) << i;
      EXPECT_TRUE(close(product("kv_proj_text", i), text, kProducts)) << i;
      EXPECT_FALSE(close(product("kv_proj_img", i), text, kProducts)) << i;  // the planted error
    }
  }
}

// Fewer image tokens than dims and no damping: finite, and the recipe on what was seen.
TEST_F(DecoupledConversion, SingularCovariancesAreExactOnWhatWasSeen) {
  for (const std::string model : {"mha", "gqa"}) {
    SCOPED_TRACE(model);
    const auto want = test::read_golden("decoupled/" + model + ".safetensors");
    ConversionOptions options = decoupled(model);
    options.statistics.damping = 0.0;
    convert_checkpoint(options);
    const LayerMoments layer = moments(options).layer(0);
    ASSERT_LT(layer.image_tokens(), 64.0);
    for (const auto& [factors, weight, name] :
         {std::tuple("kv_proj_img", 1.0, "image"), std::tuple("kv_proj_text", 0.0, "text")}) {
      const at::Tensor got = product(factors, 0);
      EXPECT_TRUE(at::isfinite(got).all().item<bool>());
      EXPECT_TRUE(close(got.mm(layer.second_moment(weight)),
                        want.at(fmt::format("{}.layers.0.{}_seen", model, name)),
                        {2e-5, 0}))
          << name;
    }
  }
}

TEST_F(DecoupledConversion, EachModalityLosesNoMoreThanInAJointLatent) {
  for (const std::string model : {"mha", "gqa", "qwen2"}) {
    SCOPED_TRACE(model);
    ConversionOptions options = decoupled(model);
    const ConversionReport report = convert_checkpoint(options);
    const at::Tensor images[] = {product("kv_proj_img", 0), product("kv_proj_img", 1)};
    const at::Tensor texts[] = {product("kv_proj_text", 0), product("kv_proj_text", 1)};
    options.statistics.modality = Modality::Joint;
    const ConversionReport joint = convert_checkpoint(options);
    const Moments all = moments(options);
    for (std::int64_t i = 0; i < 2; ++i) {
      const auto index = static_cast<std::size_t>(i);
      const at::Tensor m = whole(options, i), together = product("kv_proj", i);
      const LayerMoments layer = all.layer(i);
      double own = 0.0, shared = 0.0, total = 0.0;
      for (const auto& [share, weight, approximation] :
           {std::tuple(layer.image_tokens(), 1.0, images[i]),
            std::tuple(layer.text_tokens(), 0.0, texts[i])}) {
        const at::Tensor root = damped_root(layer.second_moment(weight), 0.01);
        const double ours = error(m, approximation, root), theirs = error(m, together, root);
        EXPECT_LE(ours, theirs * (1.0 + 1e-6)) << i;
        own += share * ours;
        shared += share * theirs;
        total += share * m.mm(root).square().sum().item<double>();
      }
      EXPECT_LT(own, 0.99 * shared);  // and both together less
      // Which is what the report says.
      EXPECT_NEAR(report.layers[index].retained_energy, 1.0 - own / total, 1e-6);
      EXPECT_GT(report.layers[index].retained_energy, joint.layers[index].retained_energy);
      ASSERT_TRUE(report.layers[index].retained_by_modality.has_value());
      EXPECT_FALSE(joint.layers[index].retained_by_modality.has_value());
    }
  }
}

struct Whole {
  const char* name;
  const char* model;
  std::function<void(ConversionOptions&)> change;
};

class WholeDecoupled : public DecoupledConversion, public ::testing::WithParamInterface<Whole> {};

// Full rank: the source where all of K rotates, else the model that lost rotation alone.
TEST_P(WholeDecoupled, LosesNothing) {
  ConversionOptions options = decoupled(GetParam().model);
  options.statistics.report_data = test::golden_calibration(4);
  GetParam().change(options);
  const bool all_of_it = options.rope.rope_dim == 16 || options.kv_budget == 1.0;
  fs::path reference = options.model;
  if (!all_of_it) {
    ConversionOptions partial = options;
    partial.output_dir = reference = dir_ / "partial";
    partial.svd_init_method = SvdMethod::None;
    partial.statistics = {};
    partial.statistics.calibration = options.statistics.calibration;
    partial.statistics.calibration_cache = options.statistics.calibration_cache;
    partial.statistics.image_weight = options.statistics.image_weight;
    convert_checkpoint(partial);
  }
  const ConversionReport report = convert_checkpoint(options);
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  for (const char* prompt : {"one", "two", "text"}) {
    EXPECT_TRUE(close(golden_logits(dir_ / "out", prompt, fp32),
                      golden_logits(reference, prompt, fp32),
                      {1e-4, 0}))
        << prompt;
  }
  if (!all_of_it) return;
  EXPECT_LT(report.agreement->text.kl, 1e-7);
  EXPECT_LT(report.agreement->answers.kl, 1e-7);
  for (const LayerReport& layer : report.layers) {
    EXPECT_LT(*layer.attention->logits, 1e-6);
    EXPECT_LT(layer.attention->output, 1e-6);
  }
}

void all_rope(ConversionOptions& options) {
  options.rope.rope_dim = 16;
  options.low_rank = 16;
}

INSTANTIATE_TEST_SUITE_P(
    Combinations,
    WholeDecoupled,
    ::testing::Values(
        Whole{"mha_all_rope", "mha", all_rope},
        Whole{"gqa_all_rope", "gqa", all_rope},
        Whole{"mha_some_rope", "mha", [](ConversionOptions& o) { o.low_rank = 16; }},
        Whole{"gqa_some_rope", "gqa", [](ConversionOptions& o) { o.low_rank = 24; }},
        Whole{"qwen2_some_rope", "qwen2", [](ConversionOptions& o) { o.low_rank = 24; }},
        Whole{"kv_budget", "gqa", [](ConversionOptions& o) { o.kv_budget = 1.0; }},
        Whole{"repeated",
              "gqa",
              [](ConversionOptions& o) {
                o.is_gqa2mha2mla = true;
                all_rope(o);
              }},
        Whole{"everything",
              "qwen2",
              [](ConversionOptions& o) {
                o.rope.version = "kl";
                o.low_rank = 24;
                o.statistics.sequential = true;
                o.statistics.balance_kv = true;
                o.statistics.rank_allocation = RankAllocation::Greedy;
                o.statistics.image_weight = 0.3;
              }}),
    [](const auto& info_) { return info_.param.name; });

TEST_F(DecoupledConversion, SaysSoAndIsTheSameTwice) {
  const ConversionOptions options = decoupled("gqa");
  const ConversionReport report = convert_checkpoint(options);
  ConversionOptions again = options;
  again.output_dir = dir_ / "again";
  again.statistics.calibration.batch_size = 1;
  again.statistics.calibration_cache = dir_ / "other_cache";
  convert_checkpoint(again);
  const Json config = read_json(dir_ / "out/config.json");
  EXPECT_EQ(config.at("vlm_mla").at("modality"), "decoupled");
  EXPECT_EQ(config.at("mha2mla").size(), 9U);
  for (const char* factors : {"kv_proj_img", "kv_proj_text"})
    EXPECT_TRUE(close(product(factors, 1), product(factors, 1, "again"), {1e-4, 0}));
  EXPECT_TRUE(close(golden_logits(dir_ / "out"), golden_logits(dir_ / "again"), {1e-3, 0}));
  again.statistics = options.statistics;
  convert_checkpoint(again);
  EXPECT_EQ(test::directory_content(dir_ / "out"), test::directory_content(dir_ / "again"));
  // k_rope [K, R] and the latent in fp32, and the flag.
  EXPECT_EQ(report.kv_bytes_per_token_after, 2 * (4 * (2 * 8 + 2 * 4) + 1));
  const Json json = read_json(dir_ / "out/conversion_report.json");
  EXPECT_GT(json.at("layers")[0].at("retained_energy_by_modality").at("image").get<double>(), 0.0);
}

// Distillation tells image tokens apart, too: at full rank there is nothing to learn, below it both
// sets of factors do.
TEST_F(DecoupledConversion, IsDistilledByModality) {
  ConversionOptions options = decoupled("gqa");
  options.distillation.steps = 2;
  options.distillation.batch_size = 2;
  options.low_rank = options.rope.rope_dim = 16;
  const ConversionReport full = convert_checkpoint(options);
  ASSERT_TRUE(full.distillation.has_value());
  EXPECT_LT(full.distillation->held_out.answers.before, 1e-7);
  options.low_rank = 2;
  options.rope.rope_dim = 8;
  const ConversionReport narrow = convert_checkpoint(options);
  EXPECT_GT(narrow.distillation->held_out.answers.before, 1e-3);
  EXPECT_LT(
      narrow.distillation->held_out.answers.after + narrow.distillation->held_out.text.after,
      narrow.distillation->held_out.answers.before + narrow.distillation->held_out.text.before);
  const at::Tensor image = product("kv_proj_img", 0), text = product("kv_proj_text", 0);
  options.distillation.steps = 0;
  convert_checkpoint(options);
  EXPECT_FALSE(close(product("kv_proj_img", 0), image, {1e-4, 0}));
  EXPECT_FALSE(close(product("kv_proj_text", 0), text, {1e-4, 0}));
}

// As published: partial RoPE first (and healing), two sets of factors from that model.
TEST_F(DecoupledConversion, TheSecondOfTwoStages) {
  ConversionOptions first = test::golden_conversion("gqa", dir_ / "partial");
  first.svd_init_method = SvdMethod::None;
  convert_checkpoint(first);
  ConversionOptions second = decoupled("gqa");
  second.model = dir_ / "partial";
  second.rope = {};
  second.rope_given = false;
  second.low_rank = 24;
  second.statistics.report_data = test::golden_calibration(4);
  const ConversionReport report = convert_checkpoint(second);
  EXPECT_TRUE(close(golden_logits(dir_ / "out"), golden_logits(dir_ / "partial"), {1e-4, 0}));
  EXPECT_LT(report.agreement->answers.kl, 1e-7);
  EXPECT_LT(*report.layers[1].attention->kl, 1e-7);
  second.model = dir_ / "out";
  second.output_dir = dir_ / "again";
  EXPECT_TRUE(fails(
      ErrorKind::Unsupported, "latent attention already", [&] { convert_checkpoint(second); }));
}

// The recipe is the published method; joint is a choice beside it.
TEST_F(DecoupledConversion, TheRecipeHasTwoSetsOfFactors) {
  ConversionOptions options = test::golden_conversion("gqa", dir_ / "out");
  apply_recipe("mha2mla-vlm", {}, options);
  EXPECT_EQ(options.statistics.modality, Modality::Decoupled);
  options = {};
  apply_recipe("mha2mla-vlm", {"modality"}, options);
  EXPECT_EQ(options.statistics.modality, Modality::Joint);
  for (const char* other : {"original", "care", "transmla-like"}) {
    options = {};
    apply_recipe(other, {}, options);
    EXPECT_EQ(options.statistics.modality, Modality::Joint) << other;
  }
}

// What greedy allocation sees: the energy that both lose behind a rank.
TEST(DecoupledSpectrum, IsWhatBothLose) {
  at::manual_seed(3);
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor m = at::randn({30, 12}, options);
  LayerMetric metric;
  metric.image_root = at::randn({12, 12}, options);
  metric.text_root = at::randn({12, 12}, options);
  metric.image_share = 0.3;
  const at::Tensor spectrum = decoupled_spectrum(m, metric);
  double lost = 0.0;
  for (const auto& [share, root] :
       {std::pair(0.3, metric.image_root), std::pair(0.7, metric.text_root)}) {
    const Factors f = factorize_whitened(m, root, 5).factors;
    lost += share * (m - f.up.mm(f.down)).mm(root).square().sum().item<double>();
  }
  EXPECT_NEAR(spectrum.slice(0, 5).sum().item<double>(), lost, 1e-9 * lost);
}

TEST_F(DecoupledConversion, BadInput) {
  const auto refused = [&](const char* text,
                           const std::function<void(ConversionOptions&)>& change) {
    ConversionOptions options = decoupled("mha");
    change(options);
    return fails(ErrorKind::Usage, text, [&] { convert_checkpoint(options); });
  };
  EXPECT_TRUE(refused("modality: expected --calibration_data with images",
                      [](ConversionOptions& o) { o.statistics.calibration = {}; }));
  EXPECT_TRUE(refused("modality: expected --calibration_data with images",
                      [](ConversionOptions& o) { o.statistics.calibration.data.clear(); }));
  EXPECT_TRUE(refused("modality: expected --factorization whitened", [](ConversionOptions& o) {
    o.statistics.factorization = Factorization::Svd;
  }));
  EXPECT_TRUE(refused("modality: expected svd_init_method joint",
                      [](ConversionOptions& o) { o.svd_init_method = SvdMethod::Split; }));
  // Conversations without a picture.
  write_file_atomic(dir_ / "blind.json",
                    R"([{"id": "1", "conversations": [{"from": "human", "value": "How many?"},)"
                    R"( {"from": "gpt", "value": "Two dogs."}]}])");
  EXPECT_TRUE(refused("expected image and text tokens", [&](ConversionOptions& o) {
    o.statistics.calibration.data = dir_ / "blind.json";
  }));
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  EXPECT_TRUE(fails(ErrorKind::Usage, "modality: expected joint or decoupled, got apart", [] {
    parse_modality("apart");
  }));
}

}  // namespace
}  // namespace vmla
