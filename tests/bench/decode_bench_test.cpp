#include "bench/decode_bench.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace vmla::test {
namespace {

// Counts calls; each run "takes" 100 bytes more than the one before.
class FakeProbe final : public MemoryProbe {
 public:
  std::int64_t current_bytes() override { return 1000; }
  void reset_peak() override { ++runs; }
  std::int64_t peak_bytes() override { return 1000 + 100 * runs; }
  void release_cached() override { ++releases; }
  const char* method() const override { return "fake"; }
  bool counts_tensors() const override { return exact; }
  bool exact = false;
  int runs = 0;
  int releases = 0;
};

TEST(DecodeBench, TakesMediansOverTheRuns) {
  TinyShape shape;
  shape.mla = SvdMethod::Joint;
  const auto model = make_tiny_model(shape);
  const Generator generator(*model, nullptr, {});
  FakeProbe probe;
  BenchSettings settings;
  settings.max_new_tokens = 7;
  settings.num_runs = 3;
  const auto m = measure_generation(
      generator, {12345, 999}, synthetic_prompts(model->config(), 2, 6), settings, probe);
  EXPECT_EQ(probe.runs, 3);
  EXPECT_EQ(probe.releases, 3);
  EXPECT_EQ(m.overhead_bytes, 200);
  EXPECT_EQ(m.peak_bytes(), 12345 + 200);
  EXPECT_EQ(m.batch_size, 2);
  EXPECT_EQ(m.prompt_tokens, 6);
  EXPECT_EQ(m.output_tokens, 7);
  EXPECT_EQ(m.kv_bytes_per_token, 2 * 4 * (8 + 4) * 4);
  EXPECT_EQ(m.kv_cache_bytes, 2 * (6 + 6) * m.kv_bytes_per_token);
  EXPECT_FALSE(m.beyond_formula_bytes);
  const double mean_tokens = 2 * (6 + 6 - 3.5);
  EXPECT_EQ(m.step_read_bytes, 999 + mean_tokens * static_cast<double>(m.kv_bytes_per_token));
  EXPECT_DOUBLE_EQ(m.read_bytes_per_second(), m.step_read_bytes * m.decode_tokens_per_second / 2);
}

TEST(DecodeBench, WhereTensorsAreCountedTheRestIsToldApart) {
  const auto model = make_tiny_model({});
  const Generator generator(*model, nullptr, {});
  FakeProbe probe;
  probe.exact = true;
  BenchSettings settings;
  settings.max_new_tokens = 3;
  settings.num_runs = 1;
  const auto m = measure_generation(
      generator, {500, 400}, synthetic_prompts(model->config(), 1, 6), settings, probe);
  EXPECT_EQ(m.beyond_formula_bytes, 1100 - 500 - m.kv_cache_bytes);
}

TEST(DecodeBench, AStepReadsTheDecoderWithoutTheEmbeddingTable) {
  const auto model = make_tiny_model({});
  const WeightBytes bytes = weight_bytes(*model);
  EXPECT_EQ(bytes.all, model->parameter_bytes());
  std::int64_t others = 0;
  for (const NamedParameter& p : model->parameters()) {
    if (p.name.rfind("vision_tower", 0) == 0 || p.name.rfind("multi_modal", 0) == 0 ||
        p.name == "language_model.model.embed_tokens.weight")
      others += static_cast<std::int64_t>(p.tensor->nbytes());
  }
  EXPECT_GT(others, 0);
  EXPECT_EQ(bytes.decode_step, bytes.all - others);
}

TEST(DecodeBench, WithoutForcedLengthEndTokensEnd) {
  const auto model = make_tiny_model({});
  const auto prompts = synthetic_prompts(model->config(), 1, 6);
  FakeProbe probe;
  BenchSettings settings;
  settings.max_new_tokens = 12;
  settings.num_runs = 1;
  GeneratorOptions options;
  for (std::int64_t id = 0; id < 128; ++id) options.end_ids.push_back(id);
  const Generator generator(*model, nullptr, options);
  EXPECT_EQ(measure_generation(generator, {}, prompts, settings, probe).output_tokens, 12);
  settings.force_length = false;
  EXPECT_EQ(measure_generation(generator, {}, prompts, settings, probe).output_tokens, 1);
}

TEST(DecodeBench, SyntheticPromptsAreRepeatableAndHoldNoImage) {
  const ModelConfig config = tiny_config({});
  const auto prompts = synthetic_prompts(config, 3, 400);
  ASSERT_EQ(prompts.size(), 3U);
  EXPECT_EQ(synthetic_prompts(config, 3, 400)[2].input_ids, prompts[2].input_ids);
  EXPECT_THROW(synthetic_prompts(config, 1, 100'000'000'000), Error);
  EXPECT_THROW(synthetic_prompts(config, 100'000'000, 3), Error);
  EXPECT_NE(prompts[0].input_ids, prompts[1].input_ids);
  for (const auto& prompt : prompts) {
    EXPECT_EQ(prompt.input_ids.size(), 400U);
    for (const auto id : prompt.input_ids) EXPECT_TRUE(id >= 0 && id < 127) << id;
  }
}

}  // namespace
}  // namespace vmla::test
