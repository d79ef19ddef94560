// The recipe "best" as a whole, on the golden models.
#include "convert/best_conversion.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "convert/conversion_support.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::golden_logits;

BestOptions best_options(const std::string& model, const fs::path& output) {
  BestOptions options;
  options.model = test::golden_dir() / "models" / model;
  options.output_dir = output;
  options.dtype = at::kFloat;
  options.calibration.data = test::golden_dir() / "rank/instruct.json";
  options.calibration.image_root = test::golden_dir() / "rank/images";
  options.calibration.samples = 6;
  options.calibration.batch_size = 4;
  options.curves = false;
  options.steps.fit_steps = 0;
  return options;
}

// In float32, in which the conversions here are stored, too.
at::Tensor source_logits(const std::string& model) {
  LoadOptions options;
  options.dtype = at::kFloat;
  return golden_logits(test::golden_dir() / "models" / model, "one", options);
}

double kl(const at::Tensor& source, const at::Tensor& got) {
  const at::Tensor p = source.to(at::kDouble).log_softmax(-1);
  return (p.exp() * (p - got.to(at::kDouble).log_softmax(-1))).sum(-1).mean().item<double>();
}

fs::path text_file(const test::TempDir& dir) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "The cat sleeps under the small table near the red train. ";
  return dir.write("text.txt", text);
}

class BestConversionOf : public ::testing::TestWithParam<const char*> {};

TEST_P(BestConversionOf, FullBudgetIsTheSource) {
  const test::TempDir dir;
  const at::Tensor source = source_logits(GetParam());
  const std::string name = GetParam();
  for (const RopeLayout layout : {RopeLayout::Shared, RopeLayout::PerHead}) {
    for (const bool sequential : {true, false}) {
      BestOptions options = best_options(name, dir / "out");
      options.overwrite = true;
      options.kv_budget = 1.0;
      options.steps.layout = layout;
      options.steps.sequential = sequential;
      if (layout == RopeLayout::PerHead) options.rope_dim = name == "mistral" ? 32 : 16;
      const ConversionReport report = convert_best(options);
      EXPECT_EQ(report.kv_bytes_per_token_after, report.kv_bytes_per_token_before);
      EXPECT_TRUE(close(golden_logits(dir / "out"), source, {3e-3, 1e-3}))
          << "layout " << static_cast<int>(layout) << ", sequential " << sequential;
    }
  }
}

// Against the original's conversion of the same size, and against itself with a step less.
TEST_P(BestConversionOf, LosesLessThanTheOriginal) {
  const test::TempDir dir;
  const at::Tensor source = source_logits(GetParam());
  ConversionOptions published = test::golden_conversion(GetParam(), dir / "published");
  published.rope.version = "uniform";
  published.rope.rope_dim = 4;
  published.low_rank = 4;
  const ConversionReport of_published = convert_checkpoint(published);
  BestOptions options = best_options(GetParam(), dir / "best");
  options.kv_budget = static_cast<double>(of_published.kv_bytes_per_token_after) /
                      static_cast<double>(of_published.kv_bytes_per_token_before);
  const ConversionReport of_best = convert_best(options);
  EXPECT_EQ(of_best.kv_bytes_per_token_after, of_published.kv_bytes_per_token_after);
  EXPECT_LT(kl(source, golden_logits(dir / "best")),
            0.7 * kl(source, golden_logits(dir / "published")));
  for (const LayerReport& layer : of_best.layers) {
    EXPECT_GT(layer.chosen->rope_dims, 0);
    EXPECT_GT(layer.chosen->latent_dims, 0);
    EXPECT_LT(layer.chosen->output_error, 1.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, BestConversionOf, ::testing::Values("mha", "gqa", "qwen2"));

TEST(BestConversion, EveryStepCanBeLeftOut) {
  const test::TempDir dir;
  const auto convert = [&](const std::function<void(BestOptions&)>& change) {
    BestOptions options = best_options("gqa", dir / "out");
    options.kv_budget = 0.25;
    options.overwrite = true;
    change(options);
    convert_best(options);
    return golden_logits(dir / "out");
  };
  const at::Tensor whole = convert([](BestOptions&) {});
  EXPECT_TRUE(test::same_bits(convert([](BestOptions&) {}), whole)) << "not reproducible";
  EXPECT_TRUE(
      close(convert([](BestOptions& o) { o.calibration.batch_size = 1; }), whole, {2e-3, 1e-3}));
  const std::vector<std::pair<const char*, std::function<void(BestOptions&)>>> changes{
      {"logit_metric", [](BestOptions& o) { o.steps.logit_metric = false; }},
      {"fold", [](BestOptions& o) { o.steps.fold = false; }},
      {"whitened", [](BestOptions& o) { o.steps.metric = LatentMetric::Whitened; }},
      {"svd", [](BestOptions& o) { o.steps.metric = LatentMetric::Svd; }},
      {"refit", [](BestOptions& o) { o.steps.refit_output = false; }},
      {"sequential", [](BestOptions& o) { o.steps.sequential = false; }},
      {"fit", [](BestOptions& o) { o.steps.fit_steps = 5; }},
      {"per head", [](BestOptions& o) { o.steps.layout = RopeLayout::PerHead; }}};
  for (const auto& [name, change] : changes) {
    const at::Tensor without = convert(change);
    EXPECT_TRUE(without.isfinite().all().item<bool>()) << name;
    EXPECT_FALSE(close(without, whole, {1e-3, 1e-3})) << name << " changes nothing";
  }
}

TEST(BestConversion, CurvesSpreadTheBudgetOverLayers) {
  const test::TempDir dir;
  BestOptions options = best_options("mha", dir / "out");
  options.calibration.text = text_file(dir);
  options.calibration.text_windows = 2;
  options.calibration.text_tokens = 40;
  options.kv_budget = 0.25;
  options.curves = true;
  options.steps.fit_steps = 12;
  const ConversionReport report = convert_best(options);
  std::int64_t numbers = 0;
  for (const LayerReport& layer : report.layers) {
    const std::int64_t of_layer = layer.chosen->rope_dims + layer.chosen->latent_dims;
    EXPECT_GE(of_layer, 16);
    EXPECT_LE(layer.chosen->fitted_error, layer.chosen->output_error);
    numbers += of_layer;
  }
  EXPECT_EQ(numbers, 2 * 32);
  const Json timed = report.json(/*with_times=*/true).at("layers").at(1).at("stage_seconds");
  for (const char* stage : {"curves.judge", "observe", "split", "make", "refit", "fit", "advance"})
    EXPECT_TRUE(timed.contains(stage)) << stage;
  const Json config = read_json(dir / "out/config.json");
  EXPECT_FALSE(config.contains("mha2mla"));
  EXPECT_EQ(config.at("vlm_mla").at("rope_layout"), "shared");
  EXPECT_EQ(config.at("vlm_mla").at("recipe"), "best");
  const Json layers = read_json(dir / "out/conversion_report.json").at("layers");
  EXPECT_EQ(layers.size(), 2U);
  EXPECT_FALSE(layers.at(1).contains("stage_seconds"));
  EXPECT_NE(report.text().find("rope loss"), std::string::npos);
  const auto model = load_vlm(dir / "out");
  EXPECT_EQ(elements_per_token(model->decoder().cache_layouts(CacheMode::Native)), 64);
}

TEST(BestConversion, PerHeadIsTheOriginalsLayout) {
  const test::TempDir dir;
  BestOptions options = best_options("gqa", dir / "out");
  options.kv_budget = 0.5;
  options.steps.layout = RopeLayout::PerHead;
  convert_best(options);
  const Json mla = read_json(dir / "out/config.json").at("mha2mla");
  EXPECT_EQ(mla.size(), 9U);
  EXPECT_EQ(mla.at("partial_rope_version"), "2-norm");
  EXPECT_EQ(mla.at("rope_dim_for_mla").get<std::int64_t>() + mla.at("low_rank").get<std::int64_t>(),
            16);
  EXPECT_TRUE(fs::exists(dir / "out/rope_ranks.pth"));
  fs::rename(dir / "out", dir / "moved");
  EXPECT_TRUE(golden_logits(dir / "moved").isfinite().all().item<bool>());
}

TEST(BestConversion, RefusesWhatCannotBe) {
  const test::TempDir dir;
  const auto refused = [&](ErrorKind kind,
                           const std::string& text,
                           const std::function<void(BestOptions&)>& change) {
    BestOptions options = best_options("mha", dir / "out");
    change(options);
    const auto result = test::fails_with(kind, {text}, [&] { convert_best(options); });
    EXPECT_FALSE(fs::exists(dir / "out"));
    return result;
  };
  EXPECT_TRUE(refused(ErrorKind::Usage, "kv_budget", [](BestOptions& o) { o.kv_budget = 0.01; }));
  EXPECT_TRUE(refused(ErrorKind::Usage, "kv_budget", [](BestOptions& o) { o.kv_budget = 1.1; }));
  EXPECT_TRUE(refused(
      ErrorKind::Usage, "--calibration_data", [](BestOptions& o) { o.calibration.data.clear(); }));
  EXPECT_TRUE(refused(ErrorKind::Usage, "rope_dim_for_mla", [](BestOptions& o) {
    o.steps.layout = RopeLayout::PerHead;
    o.rope_dim = 16;
  }));
  EXPECT_TRUE(refused(
      ErrorKind::Io, "gone.json", [](BestOptions& o) { o.calibration.data = "gone.json"; }));
}

}  // namespace
}  // namespace vmla
