// What happens to text before the model sees it: the normalizer and the pre-tokenizer of
// tokenizer.json.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vmla {

struct TextRules {
  struct Normalizer {
    bool prepend = false;  // puts content before non-empty text; else replaces pattern by it
    std::string pattern, content;
  };
  enum class Prefix {
    Never,
    First,
    Always
  };  // where Metaspace puts its mark when it is not there yet

  std::vector<Normalizer> normalizers;
  bool metaspace = false;
  std::string mark = "\xe2\x96\x81";  // what stands for a space
  Prefix prefix = Prefix::Never;
  bool split = false;  // each mark begins a word of its own

  std::string normalize(std::string_view text) const;
  // The pieces that the model sees one by one. first: text begins the whole input.
  std::vector<std::string> words(std::string text, bool first) const;
};

// LlamaTokenizer without legacy: the mark before the input unless it begins with a space or an
// added token.
TextRules non_legacy_rules(bool add_prefix_space);

}  // namespace vmla
