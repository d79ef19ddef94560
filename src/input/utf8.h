// UTF-8 as bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vmla {

constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

struct Utf8Char {
  std::size_t size = 0;  // bytes, at least 1
  bool valid = false;  // else the bytes are one maximal ill-formed part, to be shown as one U+FFFD
  char32_t code = 0;
};

// The character at the start of text, which is not empty.
Utf8Char first_utf8_char(std::string_view text);

bool is_utf8(std::string_view text);
// As Python's bytes.decode("utf-8", "replace").
std::string replace_invalid_utf8(std::string_view text);

// text in quotes for a message: control characters escaped, cut when it is long.
std::string in_quotes(std::string_view text);

// White_Space of Unicode, which \s means in the tokenizers library.
bool is_unicode_space(char32_t code);

}  // namespace vmla
