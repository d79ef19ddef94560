// Distilling the source into a conversion's own factors.
#include "convert/distillation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "convert/attention_weights.h"
#include "convert/best_conversion.h"
#include "convert/conversion_support.h"
#include "model/family.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::same_bits;

// A small conversion of the weights alone, so that with and without distillation it starts alike.
ConversionOptions small(const std::string& model, const fs::path& output, std::int64_t steps) {
  ConversionOptions options = test::golden_conversion(model, output);
  options.rope.rope_dim = 4;
  options.low_rank = 2;
  options.overwrite = true;
  options.statistics.calibration = test::golden_calibration(2);
  options.distillation.steps = steps;
  options.distillation.learning_rate = 0.01;
  options.distillation.batch_size = 4;
  return options;
}

BestOptions small_best(RopeLayout layout, const fs::path& output, std::int64_t steps) {
  BestOptions options;
  options.model = test::golden_dir() / "models/gqa";
  options.output_dir = output;
  options.overwrite = true;
  options.dtype = at::kFloat;
  options.calibration = test::golden_calibration(2);
  options.kv_budget = 0.25;
  options.steps.layout = layout;
  options.steps.fit_steps = 4;
  options.distillation.steps = steps;
  return options;
}

std::map<std::string, at::Tensor> tensors_of(const fs::path& model) {
  const Checkpoint checkpoint = Checkpoint::open(model);
  std::map<std::string, at::Tensor> out;
  for (const std::string& name : checkpoint.names()) out[name] = checkpoint.tensor(name).clone();
  return out;
}

bool is_factor(const std::string& name) {
  if (!name.ends_with(".weight")) return false;
  for (const char* part : {".kv_proj.", ".k_r_proj.", ".q_mix.", ".self_attn.o_proj."}) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

class DistillationOf : public ::testing::TestWithParam<const char*> {};

TEST_P(DistillationOf, MovesTheFactorsAndNothingElse) {
  const test::TempDir dir;
  convert_checkpoint(small(GetParam(), dir / "plain", 0));
  const ConversionReport report = convert_checkpoint(small(GetParam(), dir / "distilled", 20));
  ASSERT_TRUE(report.distillation && report.distillation->kept()) << report.text();
  const auto plain = tensors_of(dir / "plain"), distilled = tensors_of(dir / "distilled");
  ASSERT_EQ(plain.size(), distilled.size());
  int moved = 0;
  for (const auto& [name, tensor] : plain) {
    EXPECT_EQ(bool(same_bits(distilled.at(name), tensor)), !is_factor(name)) << name;
    moved += is_factor(name) ? 1 : 0;
  }
  EXPECT_EQ(moved, 2 * 5);  // two layers
}

TEST_P(DistillationOf, BringsTheDistributionNearer) {
  const test::TempDir dir;
  const ConversionReport report = convert_checkpoint(small(GetParam(), dir / "out", 40));
  const DistillationReport& told = *report.distillation;
  EXPECT_EQ(told.held_out.answers.samples, 2);
  EXPECT_EQ(told.held_out.text.samples, 1);
  for (const DistillationReport::Part* part : {&told.trained.text, &told.trained.answers}) {
    EXPECT_GT(part->before, 0.0);
    EXPECT_LT(part->after, 0.75 * part->before) << report.text();
  }
  EXPECT_LT(told.held_out.text.after + told.held_out.answers.after,
            told.held_out.text.before + told.held_out.answers.before);
  EXPECT_EQ(read_json(dir / "out/conversion_report.json").at("distillation"), told.json());
  EXPECT_EQ(read_json(dir / "out/config.json").at("vlm_mla").at("distill_steps"), told.best_step);
}

// KL(source || model) of the next token, mean over what a set's samples of one kind ask for, by
// whole forward passes.
double divergence(const fs::path& source,
                  const fs::path& model,
                  const CalibrationSet& set,
                  bool is_text) {
  const at::NoGradGuard no_grad;
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  const auto from = load_vlm(source, fp32), to = load_vlm(model, fp32);
  double sum = 0.0, tokens = 0.0;
  for (std::int64_t b = 0; b < set.batches(); ++b) {
    if (set.is_text(b) != is_text) continue;
    const TrainBatch batch = set.batch(b);
    const auto log_probs = [&](const Vlm& vlm) {
      return vlm.forward(batch.input_ids, batch.key_mask, batch.pixel_values)
          .to(at::kDouble)
          .log_softmax(-1)
          .slice(1, 0, -1);
    };
    const at::Tensor want = log_probs(*from), got = log_probs(*to);
    const at::Tensor asked = (batch.labels.slice(1, 1) != kIgnoredLabel).to(at::kDouble);
    sum += ((want.exp() * (want - got)).sum(-1) * asked).sum().item<double>();
    tokens += asked.sum().item<double>();
  }
  return sum / tokens;
}

TEST_P(DistillationOf, TheReportIsTheModels) {
  const test::TempDir dir;
  const ConversionOptions options = small(GetParam(), dir / "distilled", 20);
  convert_checkpoint(small(GetParam(), dir / "plain", 0));
  const ConversionReport report = convert_checkpoint(options);
  ASSERT_TRUE(report.distillation->kept());
  const DistillationReport::Parts& told = report.distillation->held_out;
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  CalibrationSet set = CalibrationSet::load(options.model,
                                            parse_model_config(checkpoint.config(), "config.json"),
                                            options.statistics.calibration);
  const CalibrationSet held_out = set.hold_out();
  for (const bool is_text : {false, true}) {
    const DistillationReport::Part& part = is_text ? told.text : told.answers;
    EXPECT_NEAR(part.before, divergence(options.model, dir / "plain", held_out, is_text), 1e-4);
    EXPECT_NEAR(part.after, divergence(options.model, dir / "distilled", held_out, is_text), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DistillationOf, ::testing::Values("mha", "gqa", "qwen2"));

// The first step of Adam moves every number by the learning rate, down the gradient's sign.
TEST(Distillation, FirstStepIsAdams) {
  const test::TempDir dir;
  convert_checkpoint(small("mha", dir / "plain", 0));
  ConversionOptions options = small("mha", dir / "step", 1);
  options.distillation.learning_rate = 1e-3;
  const ConversionReport report = convert_checkpoint(options);
  ASSERT_TRUE(report.distillation->kept()) << report.text();
  EXPECT_LT(report.distillation->trained.answers.after,
            report.distillation->trained.answers.before);
  const auto plain = tensors_of(dir / "plain"), step = tensors_of(dir / "step");
  for (const auto& [name, tensor] : plain) {
    if (!is_factor(name)) continue;
    const at::Tensor moved = (step.at(name) - tensor).abs() / tensor.square().mean().sqrt();
    EXPECT_NEAR(moved.max().item<double>(), 1e-3, 2e-5) << name;
    EXPECT_NEAR(moved.median().item<double>(), 1e-3, 2e-5) << name;
  }
}

TEST(Distillation, StaysOutWhereHeldOutSamplesLose) {
  const test::TempDir dir;
  // A conversion that loses little, which wild steps cannot but spoil.
  const auto good = [&](const char* output, std::int64_t steps) {
    ConversionOptions options = small("gqa", dir / output, steps);
    options.rope.rope_dim = 14;
    options.low_rank = 16;
    return options;
  };
  convert_checkpoint(good("plain", 0));
  for (const double rate : {30.0, 1e30}) {
    ConversionOptions options = good("out", 6);
    options.distillation.learning_rate = rate;
    const ConversionReport report = convert_checkpoint(options);
    EXPECT_FALSE(report.distillation->kept());
    EXPECT_EQ(report.distillation->held_out.answers.after,
              report.distillation->held_out.answers.before);
    EXPECT_NE(report.text().find("the undistilled factors stay"), std::string::npos);
    EXPECT_FALSE(report.json(false).at("distillation").at("kept").get<bool>());
    const auto plain = tensors_of(dir / "plain");
    for (const auto& [name, tensor] : tensors_of(dir / "out"))
      EXPECT_TRUE(same_bits(tensor, plain.at(name))) << name;
  }
}

TEST(Distillation, NoStepsChangeNothing) {
  const test::TempDir dir;
  ConversionOptions options = small("mha", dir / "a", 0);
  options.statistics.factorization = Factorization::Whitened;
  options.statistics.calibration_cache = dir / "cache";
  convert_checkpoint(options);
  options.output_dir = dir / "b";
  options.distillation.batch_size = 1;
  options.distillation.learning_rate = 0.5;
  const ConversionReport report = convert_checkpoint(options);
  EXPECT_FALSE(report.distillation.has_value());
  EXPECT_EQ(test::directory_content(dir / "a"), test::directory_content(dir / "b"));
}

TEST(Distillation, IsTheSameForAnyBatchAndMemory) {
  const test::TempDir dir;
  const auto logits = [&](std::int64_t at_a_time) {
    ConversionOptions options = small("gqa", dir / "out", 8);
    options.statistics.calibration.batch_size = at_a_time;
    convert_checkpoint(options);
    return test::golden_logits(dir / "out");
  };
  const at::Tensor wanted = logits(2);
  EXPECT_TRUE(same_bits(logits(2), wanted)) << "not reproducible";
  EXPECT_TRUE(test::close(logits(1), wanted, {2e-3, 1e-3}));
  EXPECT_TRUE(test::close(logits(8), wanted, {2e-3, 1e-3}));
  // Layers that are computed again in backward.
  ConversionOptions options = small("gqa", dir / "out", 8);
  options.distillation.activation_bytes = 0;
  convert_checkpoint(options);
  EXPECT_TRUE(same_bits(test::golden_logits(dir / "out"), wanted));
}

TEST(Distillation, WeighsTheModalities) {
  const test::TempDir dir;
  const auto trained = [&](double image_weight) {
    ConversionOptions options = small("mha", dir / "out", 20);
    options.statistics.image_weight = image_weight;
    return convert_checkpoint(options).distillation->trained;
  };
  const auto text = trained(0.0), answers = trained(1.0);
  EXPECT_LT(text.text.after, answers.text.after);
  EXPECT_LT(answers.answers.after, text.answers.after);
}

// What is learned from may be more than what the conversion is calibrated on.
TEST(Distillation, LearnsFromMoreSamples) {
  const test::TempDir dir;
  const auto report_of = [&](std::int64_t calibrated, std::int64_t learned) {
    BestOptions options = small_best(RopeLayout::Shared, dir / "out", 10);
    options.calibration.samples = calibrated;
    options.calibration.text_windows = (calibrated + 1) / 2;
    options.distillation.samples = learned;
    return convert_best(options);
  };
  const ConversionReport few = report_of(2, 6), all = report_of(6, 0);
  EXPECT_EQ(few.distillation->held_out.answers.samples, all.distillation->held_out.answers.samples);
  EXPECT_EQ(few.distillation->held_out.text.samples, all.distillation->held_out.text.samples);
  EXPECT_NE(few.layers[0].chosen->output_error, all.layers[0].chosen->output_error);

  const CalibrationOptions data = test::golden_calibration(2);
  const fs::path model = test::golden_dir() / "models/gqa";
  CalibrationSet set =
      CalibrationSet::load(model, parse_model_config(read_json(model / "config.json"), "c"), data);
  const CalibrationSet some = set.first(2, 1), whole = set.first(100, 100);
  EXPECT_EQ(some.conversations(), 2);
  EXPECT_EQ(some.text_windows(), 1);
  EXPECT_TRUE(at::equal(some.batch(0).input_ids, set.batch(0).input_ids));
  EXPECT_EQ(whole.content_hash(), set.content_hash());
  EXPECT_NE(some.content_hash(), set.content_hash());
}

class DistilledLayout : public ::testing::TestWithParam<RopeLayout> {};

TEST_P(DistilledLayout, LoadsAndItsPathsAgree) {
  const test::TempDir dir;
  BestOptions options = small_best(GetParam(), dir / "out", 20);
  options.report_data = test::golden_calibration(2);
  const ConversionReport report = convert_best(options);
  ASSERT_TRUE(report.distillation && report.distillation->kept()) << report.text();
  EXPECT_LT(report.distillation->trained.answers.after,
            report.distillation->trained.answers.before);
  BestOptions plain = small_best(GetParam(), dir / "plain", 0);
  plain.report_data = options.report_data;
  EXPECT_LT(report.agreement->answers.kl, convert_best(plain).agreement->answers.kl);
  ASSERT_TRUE(report.layers.back().attention.has_value());
  const at::NoGradGuard no_grad;
  const auto model = load_vlm(dir / "out");
  const at::Tensor expanded = test::hidden_by_path(*model, AttentionPath::Expanded);
  const at::Tensor absorbed = test::hidden_by_path(*model, AttentionPath::Absorbed);
  EXPECT_TRUE(test::close(absorbed, expanded, {1e-4, 1e-4}));
  EXPECT_FALSE(same_bits(absorbed, expanded)) << "one path was taken twice";
  const auto source = tensors_of(options.model), made = tensors_of(dir / "out");
  for (const auto& [name, tensor] : made) {
    if (name.find(".self_attn.") == std::string::npos) {
      EXPECT_TRUE(same_bits(tensor, source.at(name).to(at::kFloat))) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts,
                         DistilledLayout,
                         ::testing::Values(RopeLayout::Shared, RopeLayout::PerHead));

TEST(Distillation, RefusesWhatCannotBe) {
  const test::TempDir dir;
  const auto refused = [&](const std::string& text,
                           const std::function<void(ConversionOptions&)>& change) {
    ConversionOptions options = small("mha", dir / "out", 5);
    change(options);
    const auto result =
        test::fails_with(ErrorKind::Usage, {text}, [&] { convert_checkpoint(options); });
    EXPECT_FALSE(fs::exists(dir / "out"));
    return result;
  };
  EXPECT_TRUE(refused("distill_steps", [](auto& o) { o.distillation.steps = -1; }));
  EXPECT_TRUE(refused("distill_samples", [](auto& o) { o.distillation.samples = -1; }));
  EXPECT_TRUE(refused("distill_learning_rate", [](auto& o) { o.distillation.learning_rate = 0; }));
  EXPECT_TRUE(refused("distill_batch_size", [](auto& o) { o.distillation.batch_size = 0; }));
  EXPECT_TRUE(refused("--calibration_data", [](auto& o) { o.statistics.calibration = {}; }));
  EXPECT_TRUE(refused("3 or more calibration samples", [](auto& o) {
    o.statistics.calibration.samples = 2;
    o.statistics.calibration.text.clear();
  }));
}

}  // namespace
}  // namespace vmla
