// A text cut into windows of equal length, and what a model makes of them.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "base/files.h"
#include "engine/session.h"
#include "input/tokenizer.h"

namespace vmla {

// The whole file without special tokens, in windows of BOS and window - 1 tokens without overlap;
// what is left at the end goes. -> int64 [W, window], W >= 1. Errors: ErrorKind::Usage for a window
// below 2; Io for a missing file; Config for one that is not UTF-8 or too short; Unsupported for a
// tokenizer without BOS.
at::Tensor text_windows(const Tokenizer& tokenizer, const fs::path& file, std::int64_t window);

// ids int64 [B, S], text only -> the last hidden states at all places but the last [B, S - 1, E],
// which predict the tokens behind BOS. Through the cache, as decoding does.
at::Tensor window_hidden(const Vlm& model, const at::Tensor& ids, const SessionOptions& options);

// hidden [S - 1, E] of one window -> fp32 logits [S - 1, V]. Errors: ErrorKind::Numeric for NaN and
// infinity.
at::Tensor window_logits(const Vlm& model, const at::Tensor& hidden);

// logits fp32 [S - 1, V], ids int64 [S] -> the sum of -log p over the window's tokens behind BOS.
double negative_log_likelihood(const at::Tensor& logits, const at::Tensor& ids);

}  // namespace vmla
