// Prompts to completions.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/stopwatch.h"
#include "engine/generation_options.h"
#include "engine/session.h"
#include "input/processor.h"
#include "input/tokenizer.h"
#include "model/vlm.h"

namespace vmla {

enum class FinishReason { Length, EndToken, StopString, Cancelled };
const char* finish_reason_name(FinishReason reason);  // "length", "eos", "stop", "cancelled"

struct Completion {
  std::vector<std::int64_t> output_ids;  // an end token is the last of them
  std::string text;                      // empty without a tokenizer
  FinishReason finish = FinishReason::Length;
};

struct GenerationTimings {
  double first_token_seconds = 0.0;  // images, prefill and the first token
  double decode_seconds = 0.0;       // the tokens after it
  std::int64_t prompt_tokens = 0;    // over all rows, padding not counted
  std::int64_t output_tokens = 0;    // over all rows
  std::int64_t decode_tokens = 0;    // those made in decode_seconds

  double decode_tokens_per_second() const;
};

struct GenerationResult {
  std::vector<Completion> completions;
  GenerationTimings timings;
  std::int64_t kv_cache_bytes = 0;  // the most that KvCache::bytes() came to
};

struct GenerationHooks {
  // Whenever text of a row becomes final; never empty.
  std::function<void(std::int64_t row, const std::string& text)> on_text;
  const std::atomic<bool>* cancel = nullptr;  // looked at after each token
};

enum class PaddingSide { Left, Right };

struct GeneratorOptions {
  SessionOptions session;
  std::vector<std::int64_t> end_ids;
  PaddingSide padding = PaddingSide::Left;
  // The device starts a step before the host has read the tokens that it starts from, so that
  // neither waits for the other; what comes out is the same. Absent: on a GPU.
  std::optional<bool> launch_ahead;
};

// Holds no state between calls. The model and the tokenizer must outlive it.
class Generator {
 public:
  // tokenizer may be null: then there is no text, and stop strings are refused.
  Generator(const Vlm& model, const Tokenizer* tokenizer, GeneratorOptions options);

  // One completion a prompt; prompts of different lengths are padded. A row's greedy completion
  // does not depend on the other rows (up to rounding).
  GenerationResult generate(const std::vector<ModelInput>& prompts,
                            const GenerationOptions& options,
                            const GenerationHooks& hooks = {}) const;

  // The loop alone, from a session that has seen the prompts; rows that end leave the session,
  // which at the end holds all tokens but the last.
  // logits fp32 [B, V] of the prompts' last tokens; prompt_ids: what the repetition penalty counts;
  // watch: running since the prompts came.
  GenerationResult decode(Session& session,
                          at::Tensor logits,
                          const std::vector<std::vector<std::int64_t>>& prompt_ids,
                          const GenerationOptions& options,
                          const GenerationHooks& hooks,
                          const Stopwatch& watch) const;

  const Vlm& model() const { return model_; }
  const GeneratorOptions& options() const { return options_; }

 private:
  const Vlm& model_;
  const Tokenizer* tokenizer_;
  GeneratorOptions options_;
};

}  // namespace vmla
