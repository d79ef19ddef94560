// Logits and vision features against Hugging Face transformers (tests/golden/models).
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <algorithm>

#include "checkpoint/checkpoint_writer.h"
#include "model/load.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::read_golden;

constexpr test::Tolerance kFp32{1e-4, 0};

struct Case {
  std::string name;       // expected/NAME.safetensors
  std::string directory;  // below tests/golden/models; config_only/… is laid over mha/
};

at::Tensor logits_of(const Vlm& model, const std::string& key, const std::string& ids_prefix = "") {
  const at::NoGradGuard no_grad;
  static const auto inputs = read_golden("models/inputs.safetensors");
  const auto pixels = inputs.find(key + ".pixel_values");
  return model
      .forward(inputs.at(ids_prefix + key + ".input_ids").unsqueeze(0),
               {},
               pixels == inputs.end() ? at::Tensor() : pixels->second)
      .squeeze(0);
}

class LogitsGolden : public ::testing::TestWithParam<Case> {};

TEST_P(LogitsGolden, EqualsTransformers) {
  const test::TempDir dir;
  std::filesystem::path model_dir = test::golden_dir() / "models" / GetParam().directory;
  if (GetParam().directory.rfind("config_only", 0) == 0) {
    test::overlay_model(test::golden_dir() / "models/mha", model_dir, dir / "model");
    model_dir = dir / "model";
    if (std::filesystem::exists(model_dir / "overlay.safetensors")) {
      const auto base = SafetensorsFile::open(model_dir / "model.safetensors");
      const auto over = SafetensorsFile::open(model_dir / "overlay.safetensors");
      std::vector<std::pair<std::string, at::Tensor>> tensors;
      for (const auto& [name, info] : base->tensors()) {
        tensors.emplace_back(name,
                             (over->tensors().count(name) > 0 ? over : base)->tensor(name).clone());
      }
      std::filesystem::remove(model_dir / "overlay.safetensors");
      write_safetensors(model_dir / "model.safetensors", tensors);
    }
  }
  LoadOptions options;
  options.dtype = at::kFloat;
  const auto model = load_vlm(model_dir, options);
  const auto expected = read_golden("models/expected/" + GetParam().name + ".safetensors");
  const auto inputs = read_golden("models/inputs.safetensors");
  int compared = 0;
  for (const std::string key : {"one", "two", "text"}) {
    if (expected.count(key + ".logits") == 0) continue;
    EXPECT_TRUE(close(logits_of(*model, key, GetParam().name == "select_full" ? "full." : ""),
                      expected.at(key + ".logits"),
                      kFp32))
        << key;
    ++compared;
    if (expected.count(key + ".vision_selected") > 0) {
      const at::NoGradGuard no_grad;
      EXPECT_TRUE(close(model->vision_features(inputs.at(key + ".pixel_values")),
                        expected.at(key + ".vision_selected"),
                        kFp32));
      EXPECT_TRUE(close(model->encode_images(inputs.at(key + ".pixel_values")),
                        expected.at(key + ".projected"),
                        kFp32));
    }
  }
  EXPECT_GE(compared, 1);
}

INSTANTIATE_TEST_SUITE_P(Models,
                         LogitsGolden,
                         ::testing::Values(Case{"mha", "mha"},
                                           Case{"mha", "mha_v5"},
                                           Case{"mha", "mha_current"},
                                           Case{"mha", "sharded"},
                                           Case{"mha", "torch_bin"},
                                           Case{"gqa", "gqa"},
                                           Case{"mistral", "mistral"},
                                           Case{"qwen2", "qwen2"},
                                           Case{"rope_linear", "config_only/rope_linear"},
                                           Case{"rope_dynamic", "config_only/rope_dynamic"},
                                           Case{"rope_llama3", "config_only/rope_llama3"},
                                           Case{"select_full", "config_only/select_full"},
                                           Case{"feature_list", "config_only/feature_list"}),
                         [](const auto& tested) {
                           std::string name = tested.param.directory;
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

// The tolerance must be able to fail: one projection scaled by 1.001 is an error it has to see.
TEST(LogitsGolden, ToleranceSeesAPlantedError) {
  LoadOptions options;
  options.dtype = at::kFloat;
  const auto model = load_vlm(test::golden_dir() / "models/mha", options);
  const auto expected = read_golden("models/expected/mha.safetensors");
  ASSERT_TRUE(close(logits_of(*model, "one"), expected.at("one.logits"), kFp32));
  for (const auto& parameter : model->parameters()) {
    if (parameter.name == "language_model.model.layers.1.self_attn.k_proj.weight")
      parameter.tensor->mul_(1.001);
  }
  EXPECT_FALSE(close(logits_of(*model, "one"), expected.at("one.logits"), kFp32));
}

// Half precision: our order of operations is HF's, so the distance to HF's own half-precision
// logits stays below the distance of those from fp32 (0.137 and 0.024 here); a layer left out is
// far outside.
TEST(LogitsGolden, HalfPrecisionStaysNearTransformers) {
  const auto expected = read_golden("models/expected/mha.safetensors");
  for (const auto& [dtype, key, allowed] : {std::tuple{at::kBFloat16, "one.logits_bfloat16", 0.13},
                                            std::tuple{at::kHalf, "one.logits_float16", 0.022}}) {
    LoadOptions options;
    options.dtype = dtype;
    const auto model = load_vlm(test::golden_dir() / "models/mha", options);
    EXPECT_TRUE(close(logits_of(*model, "one"), expected.at(key), {allowed, 0})) << key;
    for (const auto& parameter : model->parameters()) {
      if (parameter.name == "language_model.model.layers.1.self_attn.k_proj.weight")
        parameter.tensor->mul_(1.1);
    }
    EXPECT_FALSE(close(logits_of(*model, "one"), expected.at(key), {allowed, 0}))
        << key << ": planted error";
  }
}

// Left padding, right padding and no padding give the same rows.
TEST(LogitsGolden, PaddedBatchEqualsRowsAlone) {
  LoadOptions options;
  options.dtype = at::kFloat;
  const auto model = load_vlm(test::golden_dir() / "models/mha", options);
  const auto inputs = read_golden("models/inputs.safetensors");
  const auto expected = read_golden("models/expected/mha.safetensors");
  const at::NoGradGuard no_grad;
  const at::Tensor pixels = at::cat({inputs.at("one.pixel_values"), inputs.at("two.pixel_values")});
  const at::Tensor left = inputs.at("batch.input_ids"),
                   left_mask = inputs.at("batch.attention_mask").to(at::kBool);
  const at::Tensor left_logits = model->forward(left, left_mask, pixels);
  // The same rows with their padding moved to the end.
  at::Tensor right = left.clone(), right_mask = left_mask.clone();
  for (std::int64_t row = 0; row < 3; ++row) {
    const auto pad = left.size(1) - left_mask[row].sum().item<std::int64_t>();
    right[row] = left[row].roll(-pad);
    right_mask[row] = left_mask[row].roll(-pad);
  }
  const at::Tensor right_logits = model->forward(right, right_mask, pixels);
  std::int64_t row = 0;
  for (const std::string key : {"one", "two", "text"}) {
    const at::Tensor& want = expected.at(key + ".logits");
    EXPECT_TRUE(close(left_logits[row].slice(0, -want.size(0)), want, kFp32)) << key;
    EXPECT_TRUE(close(right_logits[row].slice(0, 0, want.size(0)), want, kFp32)) << key;
    EXPECT_TRUE(left_logits[row].isfinite().all().item<bool>()) << "padding rows stay finite";
    ++row;
  }
}

}  // namespace
}  // namespace vmla
