#include "eval/python_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "eval/unicode_tables.h"
#include "input/utf8.h"

namespace vmla {

namespace {

constexpr char32_t kCapitalSigma = 0x3a3;
constexpr char32_t kSigma = 0x3c3;
constexpr char32_t kFinalSigma = 0x3c2;
constexpr char32_t kCapitalIWithDot = 0x130;
constexpr char32_t kDotAbove = 0x307;

template <typename Range>
const Range* find_range(std::span<const Range> ranges, char32_t code) {
  const auto it = std::upper_bound(
      ranges.begin(), ranges.end(), code, [](char32_t c, const Range& r) { return c < r.first; });
  if (it == ranges.begin()) return nullptr;
  const Range& range = *(it - 1);
  return code <= range.last ? &range : nullptr;
}

bool is_ascii(std::string_view text) {
  return std::all_of(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

std::u32string decode(std::string_view text) {
  std::u32string codes;
  codes.reserve(text.size());
  while (!text.empty()) codes.push_back(take_char(text));
  return codes;
}

// Whether the capital sigma at position ends a word: a cased letter before it, none behind it.
bool is_final_sigma(const std::u32string& codes, std::size_t position) {
  const auto ignorable = [&](std::size_t i) {
    return find_range(case_ignorable_ranges(), codes[i]) != nullptr;
  };
  const auto cased = [&](std::size_t i) { return find_range(cased_ranges(), codes[i]) != nullptr; };
  std::size_t before = position;
  while (before > 0 && ignorable(before - 1)) --before;
  if (before == 0 || !cased(before - 1)) return false;
  std::size_t behind = position + 1;
  while (behind < codes.size() && ignorable(behind)) ++behind;
  return behind == codes.size() || !cased(behind);
}

// Bytes of the whitespace character that text begins with, else 0.
std::size_t leading_space(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  if (byte < 0x80) return is_py_space(byte) ? 1 : 0;
  const Utf8Char c = first_utf8_char(text);
  return c.valid && is_py_space(c.code) ? c.size : 0;
}

}  // namespace

bool is_py_space(char32_t code) {
  return (code >= 0x1c && code <= 0x1f) || is_unicode_space(code);
}

bool is_py_decimal(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  return find_range(decimal_ranges(), code) != nullptr;
}

bool is_py_word(char32_t code) {
  return find_range(word_ranges(), code) != nullptr;
}

char32_t py_lower_char(char32_t code) {
  if (code == kCapitalIWithDot) return 'i';
  const LowerRun* run = find_range(lower_runs(), code);
  if (run == nullptr || (code - run->first) % static_cast<char32_t>(run->step) != 0) return code;
  return static_cast<char32_t>(static_cast<std::int32_t>(code) + run->distance);
}

char32_t take_char(std::string_view& text) {
  const Utf8Char c = first_utf8_char(text);
  text.remove_prefix(c.size);
  return c.valid ? c.code : 0xfffd;
}

void append_char(std::string& text, char32_t code) {
  const auto byte = [&](char32_t bits) { text.push_back(static_cast<char>(bits)); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xc0 | (code >> 6));
    byte(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    byte(0xe0 | (code >> 12));
    byte(0x80 | ((code >> 6) & 0x3f));
    byte(0x80 | (code & 0x3f));
  } else {
    byte(0xf0 | (code >> 18));
    byte(0x80 | ((code >> 12) & 0x3f));
    byte(0x80 | ((code >> 6) & 0x3f));
    byte(0x80 | (code & 0x3f));
  }
}

std::string py_lower(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  if (is_ascii(text)) {
    for (const char c : text) lower.push_back(ascii_lower(c));
    return lower;
  }
  const std::u32string codes = decode(text);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] == kCapitalSigma) {
      append_char(lower, is_final_sigma(codes, i) ? kFinalSigma : kSigma);
    } else {
      append_char(lower, py_lower_char(codes[i]));
      if (codes[i] == kCapitalIWithDot) append_char(lower, kDotAbove);
    }
  }
  return lower;
}

std::string_view py_strip(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = leading_space(text);
    if (size == 0) break;
    text.remove_prefix(size);
  }
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
    const std::string_view last = text.substr(begin);
    if (leading_space(last) != last.size()) break;
    text.remove_suffix(last.size());
  }
  return text;
}

std::vector<std::string_view> py_split(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t space = leading_space(text.substr(at));
    if (space == 0) {
      at += static_cast<unsigned char>(text[at]) < 0x80 ? 1 : first_utf8_char(text.substr(at)).size;
      continue;
    }
    if (at > begin) words.push_back(text.substr(begin, at - begin));
    at += space;
    begin = at;
  }
  if (at > begin) words.push_back(text.substr(begin, at - begin));
  return words;
}

std::string py_replace(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, begin)) {
    out.append(text.substr(begin, at - begin)).append(to);
    begin = at + from.size();
  }
  return out.append(text.substr(begin));
}

std::string_view py_prefix(std::string_view text, std::size_t count) {
  std::string_view rest = text;
  for (std::size_t i = 0; i < count && !rest.empty(); ++i) take_char(rest);
  return text.substr(0, text.size() - rest.size());
}

std::string py_fixed(double value, int digits) {
  char buffer[400];
  const auto result =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, digits);
  return {buffer, result.ptr};
}

double py_round(double value, int digits) {
  const std::string text = py_fixed(value, digits);
  double rounded = 0.0;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return rounded;
}

std::string py_repr(double value) {
  // Python writes exponents from 1e16 on and below 1e-4.
  const double size = std::abs(value);
  const bool plain = value == 0.0 || (size >= 1e-4 && size < 1e16);
  char buffer[400];
  const auto result =
      std::to_chars(buffer,
                    buffer + sizeof buffer,
                    value,
                    plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, result.ptr);
  if (plain && text.find('.') == text.npos) text += ".0";
  return text;
}

}  // namespace vmla
