// Tokens that are cut out of the text before the model sees it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmla {

// The fields of tokenizer_config.json's added_tokens_decoder and tokenizer.json's added_tokens.
struct AddedToken {
  std::string content;
  std::int64_t id = -1;
  bool special = false;
  bool normalized = false;              // looked for after normalisation
  bool single_word = false;             // only between characters that are not part of a word
  bool lstrip = false, rstrip = false;  // takes the whitespace on that side along
};

// A stretch of text: an added token, or plain when id is -1.
struct TextPart {
  std::int64_t id = -1;
  std::size_t begin = 0, end = 0;
};

// Leftmost-longest matching, as the tokenizers library does it.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  // Tokens with empty content are left out.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);
  std::vector<TextPart> split(std::string_view text) const;
  bool empty() const { return tokens_.empty(); }

 private:
  const AddedToken* match_at(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;                 // longest first
  std::vector<std::vector<std::size_t>> by_byte_;  // first byte -> indices into tokens_
};

}  // namespace vmla
