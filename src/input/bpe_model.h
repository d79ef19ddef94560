// Byte-pair encoding as the tokenizers library's BPE: the merge of the lowest rank first.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "input/subword_model.h"

namespace vmla {

struct BpeSpec {
  std::unordered_map<std::string, std::int64_t> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  std::optional<std::string> unknown;                       // token of what nothing else covers
  bool fuse_unknown = false;   // one token for a run of unknown characters
  bool byte_fallback = false;  // unknown characters become "<0xNN>" tokens where all of them exist
  bool ignore_merges = false;  // a word that is a token needs no merges
};

// Errors: ErrorKind::Checkpoint naming subject (an id twice or out of range, a merge of unknown
// tokens).
std::unique_ptr<SubwordModel> make_bpe_model(BpeSpec spec, const std::string& subject);

}  // namespace vmla
