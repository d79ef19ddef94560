#include "input/utf8.h"

#include "base/json.h"

namespace vmla {

Utf8Char first_utf8_char(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = at(0);
  if (lead < 0x80) return {1, true, lead};
  if (lead < 0xc2 || lead > 0xf4) return {1, false, 0};
  const std::size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  char32_t code = lead & (0x7f >> size);
  for (std::size_t i = 1; i < size; ++i) {
    const std::uint8_t byte = i < text.size() ? at(i) : 0;
    // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
    std::uint8_t low = 0x80, high = 0xbf;
    if (i == 1 && lead == 0xe0) low = 0xa0;
    if (i == 1 && lead == 0xed) high = 0x9f;
    if (i == 1 && lead == 0xf0) low = 0x90;
    if (i == 1 && lead == 0xf4) high = 0x8f;
    if (byte < low || byte > high) return {i, false, 0};
    code = code << 6 | (byte & 0x3f);
  }
  return {size, true, code};
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Char c = first_utf8_char(text);
    if (!c.valid) return false;
    text.remove_prefix(c.size);
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Char c = first_utf8_char(text);
    out += c.valid ? text.substr(0, c.size) : kReplacementCharacter;
    text.remove_prefix(c.size);
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMost = 120;
  const std::string part = replace_invalid_utf8(text.substr(0, kMost));
  return Json(text.size() > kMost ? part + "…" : part).dump();
}

bool is_unicode_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
         code == 0x202f || code == 0x205f || code == 0x3000;
}

}  // namespace vmla
