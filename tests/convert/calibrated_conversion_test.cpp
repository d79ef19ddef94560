// Conversions by calibration data: against the recipe in double, at full budget, within a budget.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "checkpoint/rank_file.h"
#include "convert/budget_split.h"
#include "convert/conversion_plan.h"
#include "convert/conversion_support.h"
#include "convert/layer_converter.h"
#include "convert/rank_allocation.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::fails;
using test::golden_logits;
using test::same_bits;

class CalibratedConversion : public ::testing::Test {
 protected:
  static CalibrationOptions data() { return test::golden_calibration(4); }
  ConversionOptions whitened(const std::string& model, const std::string& out = "out") const {
    ConversionOptions options = test::golden_conversion(model, dir_ / out);
    options.statistics.calibration = data();
    options.statistics.calibration_cache = dir_ / "cache";
    options.statistics.factorization = Factorization::Whitened;
    options.overwrite = true;
    return options;
  }
  // [K_nope; V] as the converted layer has it.
  static at::Tensor product(const fs::path& model, std::int64_t layer) {
    const Checkpoint out = Checkpoint::open(model);
    const std::string prefix =
        fmt::format("language_model.model.layers.{}.self_attn.kv_proj.", layer);
    const auto get = [&](const std::string& name) {
      return out.tensor(prefix + name + ".weight").to(at::kDouble);
    };
    const bool joint = out.contains(prefix + "down_kv.weight");
    return at::cat({get("up_k").mm(get(joint ? "down_kv" : "down_k")),
                    get("up_v").mm(get(joint ? "down_kv" : "down_v"))});
  }
  static ::testing::AssertionResult same_logits(const fs::path& got,
                                                const fs::path& want,
                                                double tolerance) {
    LoadOptions fp32;
    fp32.dtype = at::kFloat;
    for (const char* prompt : {"one", "two", "text"}) {
      const auto result = close(
          golden_logits(got, prompt, fp32), golden_logits(want, prompt, fp32), {tolerance, 0});
      if (!result) return result;
    }
    return ::testing::AssertionSuccess();
  }
  test::TempDir dir_;
};

TEST_F(CalibratedConversion, WhitenedFactorsEqualTheRecipe) {
  constexpr test::Tolerance kProducts{1e-5, 0};
  for (const std::string model : {"mha", "gqa"}) {
    SCOPED_TRACE(model);
    const auto want = test::read_golden("calibration/" + model + ".safetensors");
    const auto expect = [&](const char* key, bool equal) {
      for (std::int64_t i = 0; i < 2; ++i) {
        const at::Tensor& recipe = want.at(fmt::format("{}.layers.{}.{}", model, i, key));
        EXPECT_EQ(static_cast<bool>(close(product(dir_ / "out", i), recipe, kProducts)), equal)
            << key << " of layer " << i;
      }
    };
    ConversionOptions options = whitened(model);
    const ConversionReport report = convert_checkpoint(options);
    expect("joint", true);
    expect("joint_balanced", false);  // the planted error: another weight of image tokens
    EXPECT_GT(report.layers[0].retained_energy, 0.0);
    EXPECT_LT(report.layers[0].retained_energy, 1.0);
    options.statistics.image_weight = 0.5;
    convert_checkpoint(options);
    expect("joint_balanced", true);
    options.statistics.image_weight = kAllTokensAlike;
    options.svd_init_method = SvdMethod::Split;
    convert_checkpoint(options);
    expect("split", true);
  }
}

// Balancing K against V changes what a narrow latent keeps, and nothing at full rank.
TEST_F(CalibratedConversion, BalancedFactorsComeBackToTheirScale) {
  ConversionOptions options = whitened("mha");
  const auto halves = [&] {
    convert_checkpoint(options);
    const at::Tensor both = product(dir_ / "out", 1);
    return std::pair(both.slice(0, 0, 32), both.slice(0, 32));
  };
  const auto plain = halves();
  options.statistics.balance_kv = true;
  const auto balanced = halves();
  EXPECT_FALSE(close(balanced.first, plain.first, {1e-3, 0}));
  options.low_rank = 16;
  const auto whole = halves();
  const Checkpoint source = Checkpoint::open(options.model);
  const ConversionPlan plan = plan_conversion(source, options);
  const SplitRows rows = LayerConverter(source, plan, options).rows(1);
  EXPECT_TRUE(close(whole.first, rows.k_nope.weight.to(at::kDouble), {1e-6, 0}));
  EXPECT_TRUE(close(whole.second, rows.v.weight.to(at::kDouble), {1e-6, 0}));
}

struct FullBudget {
  const char* name;
  const char* model;
  std::function<void(ConversionOptions&)> change;
};

class FullBudgetTest : public CalibratedConversion,
                       public ::testing::WithParamInterface<FullBudget> {};

TEST_P(FullBudgetTest, IsTheSource) {
  ConversionOptions options = whitened(GetParam().model);
  options.kv_budget = 1.0;
  options.statistics.report_data = data();
  GetParam().change(options);
  const ConversionReport report = convert_checkpoint(options);
  EXPECT_TRUE(same_logits(dir_ / "out", options.model, 1e-4));
  ASSERT_TRUE(report.agreement);
  EXPECT_LT(report.agreement->text.kl, 1e-7);
  EXPECT_LT(report.agreement->answers.kl, 1e-7);
  EXPECT_EQ(report.agreement->text.same_top, 1.0);
  for (const LayerReport& layer : report.layers) {
    EXPECT_LT(*layer.attention->logits, 1e-6);
    EXPECT_LT(layer.attention->output, 1e-6);
    EXPECT_LT(*layer.attention->kl, 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Combinations,
    FullBudgetTest,
    ::testing::Values(
        FullBudget{"whitened", "mha", [](ConversionOptions&) {}},
        FullBudget{"svd",
                   "gqa",
                   [](ConversionOptions& o) { o.statistics.factorization = Factorization::Svd; }},
        FullBudget{"damped", "gqa", [](ConversionOptions& o) { o.statistics.damping = 0.1; }},
        FullBudget{"undamped", "gqa", [](ConversionOptions& o) { o.statistics.damping = 0.0; }},
        FullBudget{
            "greedy",
            "gqa",
            [](ConversionOptions& o) { o.statistics.rank_allocation = RankAllocation::Greedy; }},
        FullBudget{
            "sequential", "gqa", [](ConversionOptions& o) { o.statistics.sequential = true; }},
        FullBudget{"only_value",
                   "qwen2",
                   [](ConversionOptions& o) { o.svd_init_method = SvdMethod::OnlyValue; }},
        FullBudget{"kl", "gqa", [](ConversionOptions& o) { o.rope.version = "kl"; }},
        FullBudget{"two_norm", "qwen2", [](ConversionOptions& o) { o.rope.version = "2-norm"; }},
        FullBudget{"repeated",
                   "gqa",
                   [](ConversionOptions& o) {
                     o.is_gqa2mha2mla = true;
                     o.kv_budget = 0.0;
                     o.rope.rope_dim = 16;
                     o.low_rank = 16;
                   }},
        FullBudget{"everything",
                   "qwen2",
                   [](ConversionOptions& o) {
                     o.rope.version = "kl";
                     o.statistics.sequential = true;
                     o.statistics.rank_allocation = RankAllocation::Greedy;
                     o.statistics.image_weight = 0.3;
                   }}),
    [](const auto& info_) { return info_.param.name; });

TEST_F(CalibratedConversion, BatchSizeDoesNotChangeTheModel) {
  ConversionOptions options = whitened("gqa", "a");
  options.rope.version = "kl";
  options.statistics.sequential = true;
  options.statistics.rank_allocation = RankAllocation::Greedy;
  convert_checkpoint(options);
  options.statistics.calibration.batch_size = 1;
  options.statistics.calibration_cache = dir_ / "other_cache";
  options.output_dir = dir_ / "b";
  convert_checkpoint(options);
  EXPECT_EQ(read_json(dir_ / "a/config.json").at("vlm_mla").at("layers"),
            read_json(dir_ / "b/config.json").at("vlm_mla").at("layers"));
  EXPECT_TRUE(same_logits(dir_ / "a", dir_ / "b", 1e-3));
}

// The papers' two stages: partial RoPE first, low rank from that model.
TEST_F(CalibratedConversion, TwoStagesGiveWhatOneGives) {
  for (const std::string model : {"mha", "gqa", "qwen2"}) {
    SCOPED_TRACE(model);
    ConversionOptions first = test::golden_conversion(model, dir_ / "partial");
    first.overwrite = true;
    first.rope.version = "2-norm";
    first.qk_tensor_path = "tests/golden/conversion/ranks_" + model + ".pth";
    first.svd_init_method = SvdMethod::None;
    convert_checkpoint(first);
    ConversionOptions second = first;
    second.model = dir_ / "partial";
    second.output_dir = dir_ / "two";
    second.qk_tensor_path.clear();
    second.rope = {};
    second.rope_given = false;
    second.svd_init_method = SvdMethod::Joint;
    convert_checkpoint(second);
    ConversionOptions direct = first;
    direct.output_dir = dir_ / "one";
    direct.svd_init_method = SvdMethod::Joint;
    convert_checkpoint(direct);
    EXPECT_EQ(test::slurp(dir_ / "two/model.safetensors"),
              test::slurp(dir_ / "one/model.safetensors"));
    EXPECT_TRUE(same_bits(read_rank_file(dir_ / "two/rope_ranks.pth"),
                          read_rank_file(dir_ / "one/rope_ranks.pth")));
    // Statistics are those of the partial model; at full rank it comes back.
    second.overwrite = true;
    second.statistics = whitened(model).statistics;
    second.statistics.report_data = data();
    second.low_rank =
        largest_low_rank(plan_conversion(Checkpoint::open(direct.model), direct).shape);
    const ConversionReport report = convert_checkpoint(second);
    EXPECT_TRUE(same_logits(dir_ / "two", dir_ / "partial", 1e-4));
    EXPECT_LT(*report.layers[1].attention->kl, 1e-7);
    second.rope_given = true;  // the default selection, asked for
    EXPECT_TRUE(
        fails(ErrorKind::Usage, "rope selection is 2-norm", [&] { convert_checkpoint(second); }));
  }
}

TEST_F(CalibratedConversion, ReportComparesTheTwoModels) {
  const at::NoGradGuard no_grad;
  ConversionOptions options = whitened("gqa");
  options.statistics.report_data = data();
  const ConversionReport report = convert_checkpoint(options);
  const auto source = load_vlm(options.model, {at::kCPU, at::kFloat, {}});
  const auto converted = load_vlm(dir_ / "out", {at::kCPU, at::kFloat, {}});
  const CalibrationSet set = CalibrationSet::load(options.model, source->config(), data());
  double kl = 0.0, loss = 0.0, same = 0.0, tokens = 0.0;
  for (std::int64_t b = 0; b < set.batches(); ++b) {
    if (set.is_text(b)) continue;
    const TrainBatch batch = set.batch(b);
    const auto log_probs = [&](const Vlm& model) {
      return model.forward(batch.input_ids, batch.key_mask, batch.pixel_values)
          .to(at::kDouble)
          .log_softmax(-1);
    };
    const at::Tensor want = log_probs(*source), got = log_probs(*converted);
    for (std::int64_t i = 0; i < batch.labels.size(0); ++i) {
      for (std::int64_t t = 0; t + 1 < batch.labels.size(1); ++t) {
        const auto label = batch.labels[i][t + 1].item<std::int64_t>();
        if (label == kIgnoredLabel) continue;
        tokens += 1.0;
        kl += (want[i][t].exp() * (want[i][t] - got[i][t])).sum().item<double>();
        loss -= got[i][t][label].item<double>();
        same += want[i][t].argmax().equal(got[i][t].argmax()) ? 1.0 : 0.0;
      }
    }
  }
  const NextTokenAgreement::Part& answers = report.agreement->answers;
  EXPECT_EQ(static_cast<double>(answers.tokens), tokens);
  EXPECT_NEAR(answers.kl, kl / tokens, 1e-5);
  EXPECT_NEAR(answers.loss, loss / tokens, 1e-5);
  EXPECT_NEAR(answers.same_top, same / tokens, 1e-9);
  EXPECT_GT(answers.kl, 1e-3);  // it did lose something
  for (const LayerReport& layer : report.layers) {
    EXPECT_GT(*layer.attention->logits, 0.0);
    EXPECT_LT(*layer.attention->logits, 1.5);
    EXPECT_GT(layer.attention->output, 0.0);
    EXPECT_GT(*layer.attention->kl, 0.0);
  }
  const Json json = read_json(dir_ / "out/conversion_report.json");
  EXPECT_NEAR(json.at("next_token").at("answers").at("kl").get<double>(), answers.kl, 1e-12);
  EXPECT_GT(json.at("layers")[0].at("attention_kl").get<double>(), 0.0);
  EXPECT_NE(report.text().find("next-token KL"), std::string::npos);
}

TEST_F(CalibratedConversion, LayersMayHaveTheirOwnLatents) {
  const at::NoGradGuard no_grad;
  for (const SvdMethod method : {SvdMethod::Joint, SvdMethod::Split}) {
    ConversionOptions options = whitened("mha");
    options.svd_init_method = method;
    options.statistics.rank_allocation = RankAllocation::Greedy;
    const ConversionReport report = convert_checkpoint(options);
    const std::int64_t factors = method == SvdMethod::Split ? 2 : 1;
    const auto model = load_vlm(dir_ / "out");
    const MlaConfig& mla = *model->config().mla;
    ASSERT_EQ(mla.layer_latents.size(), 2U);
    std::int64_t sum = 0;
    for (const LayerLatents& latents : mla.layer_latents) sum += latents.key + latents.value;
    EXPECT_EQ(sum, 2 * factors * 16);  // two layers of r 4 and 4 heads
    EXPECT_NE(mla.layer_latents[0].key, mla.layer_latents[1].key);
    const auto cache = model->make_cache(1, CacheMode::Native);
    const auto inputs = test::read_golden("models/inputs.safetensors");
    const at::Tensor ids = inputs.at("text.input_ids").unsqueeze(0);
    const at::Tensor whole = model->forward(ids, {}, {});
    std::vector<at::Tensor> steps;
    for (std::int64_t t = 0; t < ids.size(1); ++t) {
      DecoderInput step;
      step.embeddings = model->embed(ids.slice(1, t, t + 1), {});
      step.positions = at::full({1, 1}, t, at::kLong);
      step.cache = cache.get();
      step.path = AttentionPath::Absorbed;
      steps.push_back(model->decoder().logits(model->decoder().forward(step)));
    }
    EXPECT_TRUE(close(at::cat(steps, 1), whole, {1e-4, 0}));
    // k_rope [K, R] of both layers and the latents, float32.
    EXPECT_EQ(cache->bytes(), ids.size(1) * 4 * (2 * 4 * 8 + sum));
    EXPECT_EQ(report.kv_bytes_per_token_after, 4 * (2 * 4 * 8 + sum));
  }
}

TEST_F(CalibratedConversion, DamagedLatentsAreRefused) {
  ConversionOptions options = whitened("mha");
  options.statistics.rank_allocation = RankAllocation::Greedy;
  convert_checkpoint(options);
  const Json whole = read_json(dir_ / "out/config.json");
  const auto refuses = [&](const char* text, const Json& layers) {
    Json config = whole;
    config["vlm_mla"]["layers"] = layers;
    write_json(dir_ / "out/config.json", config);
    return fails(ErrorKind::Config, text, [&] { load_vlm(dir_ / "out"); });
  };
  EXPECT_TRUE(refuses("expected 2, one a layer", Json::array({{{"latent_dims", 8}}})));
  EXPECT_TRUE(refuses("layers: expected the widths", Json::array()));
  EXPECT_TRUE(refuses("layers: expected the widths", "8, 24"));
  EXPECT_TRUE(refuses("layers[1]: expected an object", Json::array({{{"latent_dims", 8}}, 24})));
  EXPECT_TRUE(refuses("layers[0]", Json::array({{{"latent_dims", 0}}, {{"latent_dims", 8}}})));
  EXPECT_TRUE(refuses("layers[1]", Json::array({{{"latent_dims", 8}}, {{"latent_dims", 65}}})));
  EXPECT_TRUE(
      refuses("layers[0]",
              Json::array({{{"latent_dims", 8}, {"value_latent_dims", 8}}, {{"latent_dims", 8}}})));
}

TEST_F(CalibratedConversion, BudgetsAreKept) {
  for (const std::string model : {"mha", "gqa"}) {
    for (const double budget : {0.25, 0.5, 0.75}) {
      ConversionOptions options = whitened(model);
      options.kv_budget = budget;
      const ConversionReport report = convert_checkpoint(options);
      const double share = static_cast<double>(report.kv_bytes_per_token_after) /
                           static_cast<double>(report.kv_bytes_per_token_before);
      EXPECT_LE(share, budget);
      EXPECT_GT(share, budget - 0.07);
      options.svd_init_method = SvdMethod::Split;
      EXPECT_LE(convert_checkpoint(options).kv_bytes_per_token_after,
                budget * static_cast<double>(report.kv_bytes_per_token_before));
    }
  }
}

TEST(BudgetSplits, AreWithinTheBudget) {
  TextConfig text;  // LLaVA-1.5-7B's
  ConversionOptions options;
  options.kv_budget = 0.25;
  std::vector<std::pair<std::int64_t, std::int64_t>> got;
  for (const BudgetSplit& split : budget_splits(options, text, false))
    got.emplace_back(split.rope_dim, split.low_rank);
  EXPECT_EQ(got,
            (std::vector<std::pair<std::int64_t, std::int64_t>>{
                {8, 56}, {16, 48}, {24, 40}, {32, 32}, {40, 24}, {48, 16}}));
  options.rope.version = "uniform";
  for (const BudgetSplit& split : budget_splits(options, text, false))
    EXPECT_EQ(128 % split.rope_dim, 0);
  options.rope.version = "high";
  options.rope_dim_given = true;
  options.rope.rope_dim = 12;
  ASSERT_EQ(budget_splits(options, text, false).size(), 1U);
  EXPECT_EQ(budget_splits(options, text, false)[0].low_rank, 52);
  options.rope_dim_given = false;
  options.low_rank_given = true;
  options.low_rank = 20;
  EXPECT_EQ(budget_splits(options, text, false)[0].rope_dim, 44);
  options.rope_dim_given = true;
  EXPECT_TRUE(fails(ErrorKind::Usage, "at most one", [&] { budget_splits(options, text, false); }));
  options = {};
  options.kv_budget = 0.001;
  EXPECT_TRUE(fails(ErrorKind::Usage, "kv_budget", [&] { budget_splits(options, text, false); }));
  options.kv_budget = 1.0;
  EXPECT_EQ(budget_splits(options, text, false)[0].rope_dim, 128);
  EXPECT_EQ(budget_splits(options, text, false)[0].low_rank, 128);
}

TEST(RankAllocation, GivesWhereItPays) {
  const std::vector<double> flat(16, 1.0);
  std::vector<double> steep;
  for (int i = 0; i < 16; ++i) steep.push_back(std::pow(0.25, i));
  // The flat one needs more dims; the budget is given out in full and the bounds are kept.
  const auto ranks = allocate_ranks({{flat, 1}, {flat, 1}, {steep, 1}}, 2, 24);
  EXPECT_EQ(ranks[0] + ranks[1] + ranks[2], 24);
  for (const std::int64_t rank : ranks) EXPECT_TRUE(rank >= 4 && rank <= 16);
  // Equal branches: the earlier layer counts more.
  const auto depth = allocate_ranks({{flat, 0}, {flat, 1}}, 2, 15);
  EXPECT_GT(depth[0], depth[1]);
  // More than there is.
  EXPECT_EQ(allocate_ranks({{flat, 0}, {flat, 1}}, 2, 100), (std::vector<std::int64_t>{16, 16}));
  const std::vector<double> nothing(16, 0.0);
  EXPECT_EQ(allocate_ranks({{nothing, 0}, {nothing, 1}}, 2, 16)[0] +
                allocate_ranks({{nothing, 0}, {nothing, 1}}, 2, 16)[1],
            16);
}

TEST_F(CalibratedConversion, BadInput) {
  ConversionOptions options = whitened("mha");
  options.statistics.calibration = {};
  EXPECT_TRUE(fails(ErrorKind::Usage, "--calibration_data", [&] { convert_checkpoint(options); }));
  options = whitened("mha");
  options.statistics.factorization = Factorization::Svd;
  options.statistics.sequential = true;
  EXPECT_TRUE(fails(ErrorKind::Usage, "sequential: expected --factorization", [&] {
    convert_checkpoint(options);
  }));
  options = whitened("mha");
  options.statistics.damping = -0.1;
  EXPECT_TRUE(fails(ErrorKind::Usage, "damping", [&] { convert_checkpoint(options); }));
  options = whitened("mha");
  options.statistics.image_weight = 1.5;
  EXPECT_TRUE(fails(ErrorKind::Usage, "image_weight", [&] { convert_checkpoint(options); }));
  options = whitened("mha");
  options.kv_budget = 1.01;
  EXPECT_TRUE(fails(ErrorKind::Usage, "kv_budget", [&] { convert_checkpoint(options); }));
  options = whitened("mha");
  options.statistics.balance_kv = true;
  options.svd_init_method = SvdMethod::Split;
  EXPECT_TRUE(fails(ErrorKind::Usage, "balance_kv", [&] { convert_checkpoint(options); }));
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

// Without any of the new flags nothing new stands in the output.
TEST_F(CalibratedConversion, TheWeightsAloneLeaveNoTrace) {
  convert_checkpoint(test::golden_conversion("mha", dir_ / "out"));
  const Json ours = read_json(dir_ / "out/config.json").at("vlm_mla");
  std::vector<std::string> keys;
  for (const auto& item : ours.items()) keys.push_back(item.key());
  EXPECT_EQ(
      keys,
      (std::vector<std::string>{"format_version", "factorization", "source", "version", "report"}));
}

}  // namespace
}  // namespace vmla
