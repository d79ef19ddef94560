// tokenizer.json of the tokenizers library, as far as Llama's kind needs it.
#pragma once

#include <optional>
#include <vector>

#include "base/files.h"
#include "input/added_tokens.h"
#include "input/bpe_model.h"
#include "input/text_rules.h"

namespace vmla {

struct TokenizerJson {
  std::vector<AddedToken> added;
  TextRules rules;
  int leading_spaces = 0;  // taken from decoded text
  // Ids before and after the text; absent when there is no post-processor.
  struct Template {
    std::vector<std::int64_t> before, after;
  };
  std::optional<Template> special_ids;
  BpeSpec bpe;
};

// with_model false leaves bpe empty, which is faster. Errors: Checkpoint (damaged), Unsupported
// (named).
TokenizerJson read_tokenizer_json(const fs::path& path, bool with_model);

}  // namespace vmla
