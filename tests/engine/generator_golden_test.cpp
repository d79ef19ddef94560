// Greedy continuations against those of Hugging Face transformers.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "engine/generator.h"
#include "model/load.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla::test {
namespace {

std::vector<std::int64_t> to_ids(const at::Tensor& t) {
  return {t.const_data_ptr<std::int64_t>(), t.const_data_ptr<std::int64_t>() + t.numel()};
}

// The inputs of one prompt: "one", "two" or "text"; prefix "full." where CLS is an image token too.
ModelInput golden_input(const std::string& prompt, const std::string& prefix = "") {
  static const auto inputs = read_golden("models/inputs.safetensors");
  ModelInput input;
  input.input_ids = to_ids(inputs.at(prefix + prompt + ".input_ids"));
  if (const auto it = inputs.find(prompt + ".pixel_values"); it != inputs.end())
    input.pixel_values = it->second;
  return input;
}

std::unique_ptr<Vlm> load_float(const fs::path& dir) {
  LoadOptions options;
  options.dtype = at::kFloat;
  return load_vlm(dir, options);
}

GenerationOptions greedy(std::int64_t tokens) {
  GenerationOptions options;
  options.max_new_tokens = tokens;
  options.ignore_eos = true;
  return options;
}

std::vector<std::int64_t> continuation(const Vlm& model, const ModelInput& input) {
  return Generator(model, nullptr, {}).generate({input}, greedy(24)).completions.at(0).output_ids;
}

class GoldenModel : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenModel, ContinuesAsTransformers) {
  const std::string name = GetParam();
  const auto expected = read_golden("models/expected/" + name + ".safetensors");
  const auto model = load_float(golden_dir() / "models" / name);
  int checked = 0;
  for (const char* prompt : {"one", "two", "text"}) {
    const auto want = expected.find(std::string(prompt) + ".greedy");
    if (want == expected.end()) continue;
    EXPECT_EQ(continuation(*model, golden_input(prompt)), to_ids(want->second)) << prompt;
    ++checked;
  }
  EXPECT_GE(checked, 1);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenModel, ::testing::Values("mha", "gqa", "mistral", "qwen2"));

class GoldenConfig : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenConfig, ContinuesAsTransformers) {
  const std::string name = GetParam();
  const auto expected = read_golden("models/expected/" + name + ".safetensors");
  const TempDir dir;
  overlay_model(golden_dir() / "models/mha", golden_dir() / "models/config_only" / name, dir / "m");
  const auto model = load_float(dir / "m");
  const ModelInput input = golden_input("one", name == "select_full" ? "full." : "");
  EXPECT_EQ(continuation(*model, input), to_ids(expected.at("one.greedy")));
}

INSTANTIATE_TEST_SUITE_P(
    Configs,
    GoldenConfig,
    ::testing::Values("rope_linear", "rope_dynamic", "rope_llama3", "select_full"));

TEST(GoldenBatch, MixedLengthsContinueAsEachAlone) {
  const std::vector<std::string> names{"one", "two", "text"};
  std::vector<ModelInput> inputs;
  for (const auto& name : names) inputs.push_back(golden_input(name));
  for (const char* model_name : {"mha", "gqa"}) {
    const auto expected =
        read_golden(std::string("models/expected/") + model_name + ".safetensors");
    const auto model = load_float(golden_dir() / "models" / model_name);
    for (const PaddingSide side : {PaddingSide::Left, PaddingSide::Right}) {
      GeneratorOptions options;
      options.padding = side;
      const auto result = Generator(*model, nullptr, options).generate(inputs, greedy(24));
      for (std::size_t i = 0; i < names.size(); ++i) {
        EXPECT_EQ(result.completions[i].output_ids, to_ids(expected.at(names[i] + ".greedy")))
            << model_name << " " << names[i] << (side == PaddingSide::Left ? " left" : " right");
      }
    }
  }
}

TEST(GoldenBatch, OurPaddingIsThatOfTransformers) {
  const auto inputs = read_golden("models/inputs.safetensors");
  const at::Tensor mask = inputs.at("batch.attention_mask");
  const std::vector<std::string> names{"one", "two", "text"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    const std::int64_t padding = mask.size(1) - inputs.at(names[i] + ".input_ids").numel();
    EXPECT_EQ(mask[row].slice(0, 0, padding).sum().item<std::int64_t>(), 0);
    EXPECT_EQ(mask[row].sum().item<std::int64_t>(), mask.size(1) - padding);
  }
}

}  // namespace
}  // namespace vmla::test
