// How well a model predicts a text, without pictures.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/json.h"
#include "dist/process_group.h"
#include "engine/session.h"
#include "input/tokenizer.h"

namespace vmla {

struct PerplexityOptions {
  std::int64_t window = 512;    // tokens, BOS included
  std::int64_t batch_size = 8;  // windows that go through the model together
  SessionOptions session;
};

struct PerplexityResult {
  double perplexity = 0.0;
  double mean_nll = 0.0;    // over all predicted tokens; its exponential is the perplexity
  std::int64_t tokens = 0;  // predicted: all but the BOS of each window
  std::int64_t windows = 0;
  double seconds = 0.0;
  bool cancelled = false;  // then nothing above is meant

  Json to_json() const;  // {"perplexity", "tokens", "windows", "mean_nll"}
};

// The windows' batches are spread over the ranks; all have the result, and it is that of one.
// Errors: those of text_windows.h; ErrorKind::Usage; Device (a rank is gone).
PerplexityResult measure_perplexity(const Vlm& model,
                                    const Tokenizer& tokenizer,
                                    const fs::path& text,
                                    const PerplexityOptions& options,
                                    const std::atomic<bool>* cancel = nullptr,
                                    ProcessGroup* ranks = nullptr);

}  // namespace vmla
