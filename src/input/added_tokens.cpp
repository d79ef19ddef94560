#include "input/added_tokens.h"

#include <algorithm>

#include "input/utf8.h"

namespace vmla {
namespace {

std::size_t spaces_at_start(std::string_view text) {
  std::size_t size = 0;
  while (size < text.size()) {
    const Utf8Char c = first_utf8_char(text.substr(size));
    if (!c.valid || !is_unicode_space(c.code)) break;
    size += c.size;
  }
  return size;
}

Utf8Char last_utf8_char(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && text.size() - begin < 4 && (text[begin] & 0xc0) == 0x80) --begin;
  return first_utf8_char(text.substr(begin));
}

std::size_t spaces_at_end(std::string_view text) {
  std::size_t size = 0;
  while (size < text.size()) {
    const Utf8Char c = last_utf8_char(text.substr(0, text.size() - size));
    if (!c.valid || !is_unicode_space(c.code)) break;
    size += c.size;
  }
  return size;
}

// \w for single_word. Beyond ASCII everything counts but whitespace and the punctuation blocks,
// which spares the Unicode tables and differs only for rare symbols.
bool is_word(char32_t c) {
  if (c < 0x80)
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  const bool punctuation = (c < 0xc0 && c != 0xaa && c != 0xb5 && c != 0xba) || c == 0xd7 ||
                           c == 0xf7 || (c >= 0x2000 && c <= 0x206f) ||
                           (c >= 0x20a0 && c <= 0x20cf) || (c >= 0x2190 && c <= 0x2bff) ||
                           (c >= 0x3000 && c <= 0x3004) || (c >= 0x3008 && c <= 0x3020) ||
                           (c >= 0xff00 && c <= 0xff0f) || c == 0xfffd ||
                           (c >= 0x1f000 && c <= 0x1faff);
  return !punctuation && !is_unicode_space(c);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), by_byte_(256) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.content.size() > b.content.size();
  });
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    by_byte_[static_cast<std::uint8_t>(tokens_[i].content[0])].push_back(i);
  }
}

const AddedToken* AddedTokenMatcher::match_at(std::string_view text, std::size_t at) const {
  for (const std::size_t i : by_byte_[static_cast<std::uint8_t>(text[at])]) {
    if (text.substr(at).starts_with(tokens_[i].content)) return &tokens_[i];
  }
  return nullptr;
}

std::vector<TextPart> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<TextPart> parts;
  std::size_t plain = 0;  // start of the text that belongs to no part yet
  for (std::size_t at = 0; !tokens_.empty() && at < text.size();) {
    const AddedToken* token = match_at(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word) {
      const bool word_before = begin > 0 && is_word(last_utf8_char(text.substr(0, begin)).code);
      const bool word_after = end < text.size() && is_word(first_utf8_char(text.substr(end)).code);
      if (word_before || word_after) continue;
    }
    if (token->lstrip) begin = std::max(plain, begin - spaces_at_end(text.substr(0, begin)));
    if (token->rstrip) end += spaces_at_start(text.substr(end));
    if (plain < begin) parts.push_back({-1, plain, begin});
    parts.push_back({token->id, begin, end});
    plain = end;
    at = std::max(at, end);
  }
  if (plain < text.size()) parts.push_back({-1, plain, text.size()});
  return parts;
}

}  // namespace vmla
