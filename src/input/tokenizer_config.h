// tokenizer_config.json, special_tokens_map.json and added_tokens.json.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "input/added_tokens.h"

namespace vmla {

struct TokenizerConfig {
  // Names of the special tokens with LlamaTokenizer's defaults; empty: there is none.
  std::string bos = "<s>", eos = "</s>", unk = "<unk>", pad;
  std::vector<std::string> additional_special;
  std::vector<AddedToken> added;    // with ids; those of tokenizer.json are not among them
  bool lists_added_tokens = false;  // tokenizer_config.json has added_tokens_decoder
  std::optional<bool> add_bos, add_eos, legacy, add_prefix_space;

  bool is_special(const std::string& token) const;
};

// Absent files leave the defaults. Errors: ErrorKind::Config.
TokenizerConfig read_tokenizer_config(const fs::path& dir);

// One entry of added_tokens or added_tokens_decoder, without its id. Errors: ErrorKind::Config.
AddedToken parse_added_token(const Json& json, const std::string& subject);

}  // namespace vmla
