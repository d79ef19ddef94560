// A Llama-style tokenizer of one's own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/files.h"

namespace vmla {

// Trains sentencepiece BPE with byte fallback as Llama has it (<unk> 0, <s> 1, </s> 2, 256 byte
// tokens, single digits, no normalisation) on lines and writes tokenizer.model,
// tokenizer_config.json, special_tokens_map.json and added_tokens.json into dir. vocab_size counts
// all ids: the last two are <image> and <pad>. The same lines give the same bytes. Errors: Usage
// when the vocabulary is too small for the characters or larger than the lines can fill.
void train_tokenizer(const std::vector<std::string>& lines,
                     std::int64_t vocab_size,
                     const fs::path& dir);

}  // namespace vmla
