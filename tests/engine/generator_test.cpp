#include "engine/generator.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <set>

#include "support/expect_close.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

TinyShape joint_shape() {
  TinyShape shape;
  shape.mla = SvdMethod::Joint;
  shape.kv_heads = 2;
  shape.rope_version = "2-norm";
  return shape;
}

ModelInput prompt(const TinyShape& shape, std::int64_t tokens, std::uint64_t seed) {
  const at::Tensor ids = tiny_ids(shape, 1, tokens, seed);
  ModelInput input;
  input.input_ids.assign(ids.const_data_ptr<std::int64_t>(),
                         ids.const_data_ptr<std::int64_t>() + tokens);
  return input;
}

ModelInput prompt_with_image(const TinyShape& shape, std::int64_t tokens, std::uint64_t seed) {
  ModelInput input = prompt(shape, tokens, seed);
  input.input_ids.insert(input.input_ids.begin() + 1, 4, shape.vocab - 1);
  input.pixel_values = at::randn({1, 3, 28, 28}, at::detail::createCPUGenerator(seed));
  return input;
}

GenerationOptions tokens(std::int64_t count) {
  GenerationOptions options;
  options.max_new_tokens = count;
  return options;
}

std::vector<std::int64_t> alone(const Vlm& model,
                                const ModelInput& input,
                                const GenerationOptions& options) {
  return Generator(model, nullptr, {}).generate({input}, options).completions[0].output_ids;
}

TEST(Generator, ARowDoesNotDependOnItsBatch) {
  for (const bool mla : {false, true}) {
    const TinyShape shape = mla ? joint_shape() : TinyShape{};
    const auto model = make_tiny_model(shape);
    const std::vector<ModelInput> inputs{prompt(shape, 9, 1),
                                         prompt_with_image(shape, 5, 2),
                                         prompt(shape, 1, 3),
                                         prompt_with_image(shape, 12, 4)};
    for (const PaddingSide side : {PaddingSide::Left, PaddingSide::Right}) {
      GeneratorOptions options;
      options.padding = side;
      const Generator generator(*model, nullptr, options);
      const auto all = generator.generate(inputs, tokens(20));
      const auto reversed = generator.generate({inputs.rbegin(), inputs.rend()}, tokens(20));
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const auto want = alone(*model, inputs[i], tokens(20));
        EXPECT_EQ(all.completions[i].output_ids, want) << i;
        EXPECT_EQ(reversed.completions[inputs.size() - 1 - i].output_ids, want) << i;
      }
    }
  }
}

TEST(Generator, ManyImagesAreEncodedInParts) {
  const auto model = make_tiny_model({});
  const at::Tensor pixels = at::randn({35, 3, 28, 28}, at::detail::createCPUGenerator(9));
  const at::Tensor whole = model->encode_images(pixels);  // recording gradients: at once
  const c10::InferenceMode guard;
  const at::Tensor parts = model->encode_images(pixels);
  EXPECT_TRUE(close(parts, whole, {1e-5, 0}));
  EXPECT_FALSE(close(parts.roll(1, 0), whole, {1e-2, 0}));
}

TEST(Generator, RowsStopAtTheirOwnEndToken) {
  const TinyShape shape = joint_shape();
  const auto model = make_tiny_model(shape);
  const std::vector<ModelInput> inputs{
      prompt(shape, 9, 1), prompt(shape, 4, 2), prompt(shape, 6, 5)};
  const auto free = Generator(*model, nullptr, {}).generate(inputs, tokens(16));
  // The end tokens are what rows 0 and 1 say in passing.
  GeneratorOptions options;
  options.end_ids = {free.completions[0].output_ids[3], free.completions[1].output_ids[8]};
  const Generator generator(*model, nullptr, options);
  const auto result = generator.generate(inputs, tokens(16));
  std::size_t ended = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::vector<std::int64_t> want = free.completions[i].output_ids;
    const auto end = std::find_first_of(
        want.begin(), want.end(), options.end_ids.begin(), options.end_ids.end());
    const bool stops = end != want.end();
    if (stops) want.erase(end + 1, want.end());
    ended += stops ? 1 : 0;
    EXPECT_EQ(result.completions[i].output_ids, want) << i;
    EXPECT_EQ(result.completions[i].finish, stops ? FinishReason::EndToken : FinishReason::Length);
  }
  EXPECT_GE(ended, 2U);
  GenerationOptions ignoring = tokens(16);
  ignoring.ignore_eos = true;
  EXPECT_EQ(generator.generate(inputs, ignoring).completions[0].output_ids,
            free.completions[0].output_ids);
}

// Rows that end leave the batch; the others keep their cache, their padding, what they have said
// and their random numbers.
TEST(Generator, FinishedRowsLeaveTheBatch) {
  const TinyShape shape = joint_shape();
  const auto model = make_tiny_model(shape);
  std::vector<ModelInput> inputs;
  for (std::uint64_t row = 0; row < 8; ++row) {
    inputs.push_back(prompt(shape, 3 + 2 * static_cast<std::int64_t>(row % 5), row + 1));
  }
  for (const double temperature : {0.0, 1.3}) {
    GenerationOptions options = tokens(24);
    options.temperature = temperature;
    options.repetition_penalty = 1.2;
    options.seed = 5;
    const auto free = Generator(*model, nullptr, {}).generate(inputs, options);
    GeneratorOptions ending;
    for (const std::size_t row : {0, 1, 2, 3, 4, 5}) {
      ending.end_ids.push_back(free.completions[row].output_ids[2 + 3 * row]);
    }
    const auto result = Generator(*model, nullptr, ending).generate(inputs, options);
    std::set<std::size_t> lengths;
    for (std::size_t row = 0; row < inputs.size(); ++row) {
      std::vector<std::int64_t> want = free.completions[row].output_ids;
      const auto end = std::find_first_of(
          want.begin(), want.end(), ending.end_ids.begin(), ending.end_ids.end());
      if (end != want.end()) want.erase(end + 1, want.end());
      lengths.insert(want.size());
      EXPECT_EQ(result.completions[row].output_ids, want) << row << " at " << temperature;
    }
    EXPECT_GE(lengths.size(), 3U) << "rows end one after another, or this shows little";
    EXPECT_LT(result.kv_cache_bytes, free.kv_cache_bytes);
  }
}

TEST(Generator, CountsTokensAndCacheBytes) {
  const TinyShape shape = joint_shape();
  const auto model = make_tiny_model(shape);
  const auto result = Generator(*model, nullptr, {})
                          .generate({prompt(shape, 9, 1), prompt(shape, 4, 2)}, tokens(5));
  EXPECT_EQ(result.timings.prompt_tokens, 13);
  EXPECT_EQ(result.timings.output_tokens, 10);
  EXPECT_EQ(result.timings.decode_tokens, 8);
  EXPECT_GT(result.timings.first_token_seconds, 0);
  EXPECT_GT(result.timings.decode_tokens_per_second(), 0);
  // Two rows of 9 (padded) + 4 fed tokens; K (R + r) elements of 4 bytes in each of two layers.
  EXPECT_EQ(result.kv_cache_bytes, 2 * 13 * 2 * 2 * (8 + 4) * 4);
}

TEST(Generator, SamplingIsRepeatable) {
  const TinyShape shape;
  const auto model = make_tiny_model(shape);
  GenerationOptions options = tokens(24);
  options.temperature = 1.5;
  options.top_p = 0.95;
  options.seed = 3;
  const auto first = alone(*model, prompt(shape, 5, 1), options);
  EXPECT_EQ(alone(*model, prompt(shape, 5, 1), options), first);
  options.seed = 4;
  EXPECT_NE(alone(*model, prompt(shape, 5, 1), options), first);
}

TEST(Generator, CancelEndsAfterTheStep) {
  const TinyShape shape;
  const auto model = make_tiny_model(shape);
  const std::atomic<bool> cancel{true};
  GenerationHooks hooks;
  hooks.cancel = &cancel;
  const auto result =
      Generator(*model, nullptr, {}).generate({prompt(shape, 5, 1)}, tokens(100), hooks);
  EXPECT_EQ(result.completions[0].output_ids.size(), 1U);
  EXPECT_EQ(result.completions[0].finish, FinishReason::Cancelled);
}

ErrorKind kind_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.kind();
  }
  return ErrorKind::Internal;
}

TEST(Generator, BadInputIsOneClearError) {
  const TinyShape shape;
  const auto model = make_tiny_model(shape);
  const Generator generator(*model, nullptr, {});
  EXPECT_EQ(kind_of([&] { generator.generate({}, tokens(1)); }), ErrorKind::Usage);
  EXPECT_EQ(kind_of([&] { generator.generate({ModelInput{}}, tokens(1)); }), ErrorKind::Usage);
  EXPECT_EQ(kind_of([&] { generator.generate({prompt(shape, 3, 1)}, tokens(0)); }),
            ErrorKind::Usage);
  ModelInput no_pixels = prompt_with_image(shape, 3, 1);
  no_pixels.pixel_values.reset();
  EXPECT_EQ(kind_of([&] { generator.generate({no_pixels}, tokens(1)); }), ErrorKind::Usage);
}

TEST(Generator, NonFiniteLogitsAreRefused) {
  const TinyShape shape;
  const auto model = make_tiny_model(shape);
  model->decoder().lm_head[5] = std::nan("");
  const Generator generator(*model, nullptr, {});
  EXPECT_EQ(kind_of([&] { generator.generate({prompt(shape, 3, 1)}, tokens(1)); }),
            ErrorKind::Numeric);
}

}  // namespace
}  // namespace vmla::test
