// Steps launched before the host has read their tokens, against one after the other: on the CPU the
// same order of operations as on a GPU.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "engine/conversation.h"
#include "kernels/device.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

const Tokenizer& tokenizer() {
  static const auto loaded = load_tokenizer(golden_dir() / "tokenizer");
  return *loaded;
}

TinyShape shape(bool mla = true) {
  TinyShape out;
  out.vocab = tokenizer().vocab_size() + 1;
  if (mla) out.mla = SvdMethod::Joint;
  return out;
}

std::vector<ModelInput> prompts(std::size_t rows) {
  std::vector<ModelInput> out(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    const at::Tensor ids =
        tiny_ids(shape(), 1, 3 + 2 * static_cast<std::int64_t>(row % 5), row + 1);
    out[row].input_ids.assign(ids.const_data_ptr<std::int64_t>(),
                              ids.const_data_ptr<std::int64_t>() + ids.numel());
  }
  return out;
}

struct Heard {
  GenerationResult result;
  std::vector<std::pair<std::int64_t, std::string>> pieces;  // row, text
};

// cancel_after: how many pieces of text a caller listens to; 0 = all.
Heard listen(const Vlm& model,
             GeneratorOptions settings,
             bool ahead,
             const std::vector<ModelInput>& inputs,
             const GenerationOptions& options,
             std::size_t cancel_after = 0) {
  settings.launch_ahead = ahead;
  Heard heard;
  std::atomic<bool> cancel{false};
  GenerationHooks hooks;
  hooks.cancel = &cancel;
  hooks.on_text = [&](std::int64_t row, const std::string& text) {
    heard.pieces.emplace_back(row, text);
    if (heard.pieces.size() == cancel_after) cancel = true;
  };
  heard.result = Generator(model, &tokenizer(), settings).generate(inputs, options, hooks);
  return heard;
}

void expect_same(const Heard& got, const Heard& want, const std::string& what) {
  ASSERT_EQ(got.result.completions.size(), want.result.completions.size());
  for (std::size_t row = 0; row < want.result.completions.size(); ++row) {
    const Completion &a = got.result.completions[row], &b = want.result.completions[row];
    EXPECT_EQ(a.output_ids, b.output_ids) << what << ", row " << row;
    EXPECT_EQ(a.text, b.text) << what << ", row " << row;
    EXPECT_STREQ(finish_reason_name(a.finish), finish_reason_name(b.finish)) << what << row;
  }
  EXPECT_EQ(got.pieces, want.pieces) << what;
  EXPECT_EQ(got.result.kv_cache_bytes, want.result.kv_cache_bytes) << what;
  EXPECT_EQ(got.result.timings.output_tokens, want.result.timings.output_tokens) << what;
  EXPECT_EQ(got.result.timings.decode_tokens, want.result.timings.decode_tokens) << what;
}

GenerationOptions sampling(const std::string& name) {
  GenerationOptions options;
  options.max_new_tokens = 24;
  if (name == "greedy") return options;
  if (name == "penalty") {
    options.repetition_penalty = 1.3;
    return options;
  }
  options.temperature = 1.4;
  if (name == "top_k" || name == "all") options.top_k = 20;
  if (name == "top_p" || name == "all") options.top_p = 0.9;
  if (name == "all") {
    options.min_p = 0.01;
    options.repetition_penalty = 1.2;
  }
  return options;
}

class LaunchAhead : public ::testing::TestWithParam<const char*> {
 protected:
  static std::vector<GeneratorOptions> engines() {
    std::vector<GeneratorOptions> out(2);
    out[1].session.step_engine = StepEngine::Static;
    out[1].padding = PaddingSide::Right;
    return out;
  }
};

TEST_P(LaunchAhead, EveryEndComesOutAlike) {
  const auto inputs = prompts(8);
  std::set<FinishReason> reasons;
  for (const bool mla : {false, true}) {
    const auto model = make_tiny_model(shape(mla));
    for (GeneratorOptions settings : engines()) {
      for (const std::uint64_t seed : {3, 4}) {
        GenerationOptions options = sampling(GetParam());
        options.seed = seed;
        const auto compare = [&](const std::string& what, std::size_t cancel_after = 0) {
          const Heard want = listen(*model, settings, false, inputs, options, cancel_after);
          expect_same(listen(*model, settings, true, inputs, options, cancel_after), want, what);
          for (const auto& c : want.result.completions) reasons.insert(c.finish);
          return want;
        };
        const Heard free = compare("length");
        for (const std::size_t pieces : {1, 2, 9, 10, 37}) compare("cancelled", pieces);
        const auto& said = free.result.completions;
        // What rows 0 to 4 say in passing ends them, one after another.
        options.stop = {said[1].text.substr(said[1].text.size() / 2, 3)};
        compare("stop string");
        options.stop.clear();
        for (const std::size_t row : {0, 1, 2, 3, 4})
          settings.end_ids.push_back(said[row].output_ids[2 + 3 * row]);
        const Heard ended = compare("end tokens");
        std::set<std::size_t> lengths;
        for (const auto& c : ended.result.completions) lengths.insert(c.output_ids.size());
        EXPECT_GE(lengths.size(), 3U);
        settings.end_ids.clear();
        for (const std::int64_t tokens : {1, 2, 3}) {
          options.max_new_tokens = tokens;
          compare("few tokens");
        }
      }
    }
  }
  EXPECT_EQ(reasons.size(), 4U);
}

INSTANTIATE_TEST_SUITE_P(
    Samplers,
    LaunchAhead,
    ::testing::Values("greedy", "penalty", "temperature", "top_k", "top_p", "all"),
    [](const auto& tested) { return std::string(tested.param); });

// A caller sees the first token before the second step begins, each later one after the next has;
// what was launched in vain is gone from the cache.
TEST(LaunchAheadOrder, TheStepIsUnderWayWhenItsTokenIsRead) {
  const c10::InferenceMode guard;
  const auto model = make_tiny_model(shape());
  const ModelInput input = prompts(1).front();
  const auto size = static_cast<std::int64_t>(input.input_ids.size());
  const at::Tensor ids = at::tensor(input.input_ids, at::kLong).unsqueeze(0);
  GenerationOptions options;
  options.max_new_tokens = 12;
  const auto free = Generator(*model, &tokenizer(), {}).generate({input}, options);
  GeneratorOptions settings;
  settings.end_ids = {free.completions[0].output_ids[5]};
  std::vector<at::Tensor> after;
  std::vector<std::int64_t> read_at[2];  // the session's length when each piece of text came
  for (const bool ahead : {false, true}) {
    settings.launch_ahead = ahead;
    Session session(*model, 1);
    const at::Tensor logits = session.prefill(model->embed(ids, {}));
    GenerationHooks hooks;
    hooks.on_text = [&](std::int64_t, const std::string&) {
      read_at[ahead].push_back(session.length());
    };
    const auto result = Generator(*model, &tokenizer(), settings)
                            .decode(session, logits, {input.input_ids}, options, hooks, {});
    const auto made = static_cast<std::int64_t>(result.completions[0].output_ids.size());
    EXPECT_EQ(session.length(), size + made - 1);
    session.cache().poison_unused();
    after.push_back(session.step(at::tensor({7}, at::kLong)));
  }
  EXPECT_TRUE(same_bits(after[0], after[1]));
  EXPECT_EQ(read_at[0].front(), size);
  EXPECT_GT(read_at[0].back(), size);
  for (std::int64_t& length : read_at[0]) length += length > size ? 1 : 0;
  EXPECT_EQ(read_at[1], read_at[0]);
}

// From another thread, whenever it comes: what was said is the beginning of what would have been.
TEST(LaunchAheadOrder, ACancelAtAnyMomentLeavesABeginning) {
  const c10::InferenceMode guard;
  const auto model = make_tiny_model(shape());
  const ModelInput input = prompts(1).front();
  const at::Tensor ids = at::tensor(input.input_ids, at::kLong).unsqueeze(0);
  GenerationOptions options = sampling("all");
  options.max_new_tokens = 200;
  GeneratorOptions settings;
  settings.launch_ahead = true;
  const Generator generator(*model, &tokenizer(), settings);
  const auto free = generator.generate({input}, options).completions[0].output_ids;
  for (const int microseconds : {0, 300, 2000, 9000, 30000}) {
    Session session(*model, 1);
    const at::Tensor logits = session.prefill(model->embed(ids, {}));
    std::atomic<bool> cancel{false};
    GenerationHooks hooks;
    hooks.cancel = &cancel;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
      cancel = true;
    });
    const auto said =
        generator.decode(session, logits, {input.input_ids}, options, hooks, {}).completions[0];
    other.join();
    ASSERT_LE(said.output_ids.size(), free.size());
    EXPECT_TRUE(std::equal(said.output_ids.begin(), said.output_ids.end(), free.begin()));
    EXPECT_EQ(session.length(),
              static_cast<std::int64_t>(input.input_ids.size() + said.output_ids.size()) - 1);
    if (said.output_ids.size() < free.size()) {
      EXPECT_EQ(said.finish, FinishReason::Cancelled);
    }
  }
}

TEST(LaunchAheadConversation, TurnsReuseAsMuch) {
  const auto model = make_tiny_model(shape());
  GenerationOptions options;
  options.max_new_tokens = 9;
  const ModelInput first = prompts(1).front();
  const auto free = Generator(*model, nullptr, {}).generate({first}, options).completions[0];
  GeneratorOptions settings[2];
  std::vector<std::vector<std::int64_t>> said[2];
  for (const bool ahead : {false, true}) {
    settings[ahead].launch_ahead = ahead;
    settings[ahead].end_ids = {free.output_ids[4]};
    const Generator generator(*model, nullptr, settings[ahead]);
    Conversation conversation(generator);
    ModelInput prompt = first;
    std::int64_t cached = 0;
    for (int turn = 0; turn < 3; ++turn) {
      const auto answer = conversation.reply(prompt, options).completions[0].output_ids;
      EXPECT_EQ(conversation.reused_tokens(), cached) << turn;
      EXPECT_EQ(answer, generator.generate({prompt}, options).completions[0].output_ids) << turn;
      said[ahead].push_back(answer);
      prompt.input_ids.insert(prompt.input_ids.end(), answer.begin(), answer.end());
      cached = static_cast<std::int64_t>(prompt.input_ids.size()) - 1;
      prompt.input_ids.insert(prompt.input_ids.end(), {30, 31});
    }
  }
  EXPECT_EQ(said[0], said[1]);
  EXPECT_LT(said[1][0].size(), 9U) << "no step was launched in vain";
}

// The planted error: a reader that gives what the device has not finished, or a sampler that forgot
// whose random numbers are whose, shows here.
TEST(LaunchAheadCuda, TokensAreThoseOfTheDirectLoop) {
  if (!kernels::built_with_cuda() || !at::globalContext().hasCUDA())
    GTEST_SKIP() << "no CUDA device";
  TinyShape large = shape();
  large.head_dim = 64;
  large.hidden = 256;
  large.rope_dim = large.low_rank = 32;
  const auto model = make_tiny_model(large, at::kBFloat16, at::kCUDA);
  const auto inputs = prompts(8);
  for (const char* name : {"greedy", "penalty", "temperature", "top_k", "top_p", "all"}) {
    for (const bool ends : {false, true}) {
      GenerationOptions options = sampling(name);
      options.max_new_tokens = 40;
      GeneratorOptions settings;
      if (ends) {
        // One row of eight: fewer rows than are dropped, so that both loops use the same kernels.
        const auto said = listen(*model, settings, false, inputs, options).result.completions;
        std::set<std::int64_t> others;
        for (std::size_t row = 1; row < 8; ++row)
          others.insert(said[row].output_ids.begin(), said[row].output_ids.end());
        for (const std::int64_t id : said[0].output_ids)
          if (settings.end_ids.empty() && others.count(id) == 0) settings.end_ids = {id};
      }
      expect_same(listen(*model, settings, true, inputs, options),
                  listen(*model, settings, false, inputs, options),
                  name);
    }
  }
}

}  // namespace
}  // namespace vmla::test
