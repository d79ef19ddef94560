// A Tokenizer out of its parts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "input/added_tokens.h"
#include "input/subword_model.h"
#include "input/text_rules.h"
#include "input/tokenizer.h"

namespace vmla {

struct TokenizerParts {
  std::unique_ptr<SubwordModel> model;
  TextRules rules;
  std::vector<AddedToken> added;
  std::vector<std::int64_t> before, after;  // special ids around the text
  std::string bos, eos, pad, unk;           // tokens; empty: none
  int leading_spaces = 1;
};

// Errors: ErrorKind::Checkpoint naming subject (an added token's id that cannot be).
std::unique_ptr<Tokenizer> make_subword_tokenizer(TokenizerParts parts, const std::string& subject);

}  // namespace vmla
