#include "eval/answer_normalizer.h"

#include <array>

#include "eval/python_text.h"

namespace vmla {

namespace {

constexpr std::string_view kMarks = ";/[]\"{}()=+\\_-><@`,?!";
constexpr int kMostPeriods = 32;

bool starts_with_digit(std::string_view text) {
  return !text.empty() && is_py_decimal(take_char(text));
}

bool has_joined_digits(std::string_view text, CommaRule rule) {
  bool digit_before = false;
  while (!text.empty()) {
    if (text.front() == ',' && digit_before) {
      std::string_view behind = text.substr(1);
      while (rule == CommaRule::Run && !behind.empty() && behind.front() == ',') {
        behind.remove_prefix(1);
      }
      if (starts_with_digit(behind)) return true;
    }
    digit_before = is_py_decimal(take_char(text));
  }
  return false;
}

bool touches_space(std::string_view text, char mark) {
  const char pattern[] = {' ', mark, ' '};
  return text.find({pattern, 2}) != text.npos || text.find({pattern + 1, 2}) != text.npos;
}

std::string drop_periods(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  int dropped = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.' && dropped < kMostPeriods && !starts_with_digit(text.substr(i + 1))) {
      ++dropped;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string_view map_number(std::string_view word) {
  static const std::unordered_map<std::string_view, std::string_view> numbers = {{"none", "0"},
                                                                                 {"zero", "0"},
                                                                                 {"one", "1"},
                                                                                 {"two", "2"},
                                                                                 {"three", "3"},
                                                                                 {"four", "4"},
                                                                                 {"five", "5"},
                                                                                 {"six", "6"},
                                                                                 {"seven", "7"},
                                                                                 {"eight", "8"},
                                                                                 {"nine", "9"},
                                                                                 {"ten", "10"}};
  const auto it = numbers.find(word);
  return it == numbers.end() ? word : it->second;
}

}  // namespace

std::string trim_answer(std::string_view text) {
  std::string spaced(text);
  for (char& c : spaced) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return std::string(py_strip(spaced));
}

std::string strip_punctuation(std::string_view text, CommaRule rule) {
  if (text.find_first_of(kMarks) == text.npos) return drop_periods(text);
  const bool joined_digits = has_joined_digits(text, rule);
  // What becomes of each mark: looked up in the text as it came, whatever becomes of the others.
  std::array<char, 128> replacement{};
  for (const char mark : kMarks) {
    replacement[static_cast<std::size_t>(mark)] =
        joined_digits || touches_space(text, mark) ? '-' : ' ';
  }
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const char change = byte < 128 ? replacement[byte] : '\0';
    if (change == '\0') {
      out.push_back(c);
    } else if (change == ' ') {
      out.push_back(' ');
    }
  }
  return drop_periods(out);
}

std::string map_words(std::string_view text) {
  const std::string lower = py_lower(text);
  std::string out;
  for (std::string_view word : py_split(lower)) {
    word = map_number(word);
    if (word == "a" || word == "an" || word == "the") continue;
    if (!out.empty()) out.push_back(' ');
    const auto it = contractions().find(std::string(word));
    out.append(it == contractions().end() ? word : it->second);
  }
  return out;
}

std::string normalize_official(std::string_view text) {
  return map_words(strip_punctuation(trim_answer(text), CommaRule::One));
}

std::string normalize_lmms_vqav2(std::string_view text) {
  return map_words(strip_punctuation(trim_answer(text), CommaRule::Run));
}

std::string normalize_evalai(std::string_view text) {
  std::string word = py_lower(text);
  word = py_replace(py_replace(py_replace(word, ",", ""), "?", ""), "'s", " 's");
  return map_words(strip_punctuation(trim_answer(py_strip(word)), CommaRule::Run));
}

}  // namespace vmla
