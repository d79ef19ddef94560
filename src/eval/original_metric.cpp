#include "eval/original_metric.h"

#include <algorithm>

#include "eval/python_text.h"

namespace vmla {

namespace {

constexpr char32_t kFullwidthColon = 0xff1a;

// As re.IGNORECASE compares with a lower-case ASCII letter, which includes the dotless i and the
// long s.
bool same_letter(char32_t code, char letter) {
  if (letter == 'i' && code == 0x131) return true;
  if (letter == 's' && code == 0x17f) return true;
  return py_lower_char(code) == static_cast<char32_t>(letter);
}

// Removes phrase from the front of text if it stands there in any case.
bool take_phrase(std::string_view& text, std::string_view phrase) {
  std::string_view rest = text;
  for (const char letter : phrase) {
    if (rest.empty() || !same_letter(take_char(rest), letter)) return false;
  }
  text = rest;
  return true;
}

bool take_spaces(std::string_view& text) {
  bool any = false;
  while (!text.empty()) {
    std::string_view rest = text;
    if (!is_py_space(take_char(rest))) break;
    text = rest;
    any = true;
  }
  return any;
}

std::string_view drop_prefix(std::string_view text) {
  for (const std::string_view prefix : {"assistant", "ASSISTANT", "answer", "Answer"}) {
    if (!text.starts_with(prefix)) continue;
    text.remove_prefix(prefix.size());
    take_spaces(text);
    std::string_view rest = text;
    if (!rest.empty()) {
      const char32_t code = take_char(rest);
      if (code == ':' || code == kFullwidthColon) text = rest;
    }
    take_spaces(text);
    break;
  }
  return text;
}

// What follows the first "the answer is" or "answer is" up to a mark that ends a sentence, which
// may not be its first character; all of text where no such phrase stands.
std::string_view stated_answer(std::string_view text) {
  for (std::string_view at = text; !at.empty(); take_char(at)) {
    for (const std::string_view phrase : {"the answer is", "answer is"}) {
      std::string_view rest = at;
      if (!take_phrase(rest, phrase) || !take_spaces(rest) || rest.empty()) continue;
      std::string_view behind = rest;
      take_char(behind);
      const std::size_t first = rest.size() - behind.size();
      return py_strip(rest.substr(0, rest.find_first_of(".!?", first)));
    }
  }
  return text;
}

}  // namespace

std::string original_short_answer(std::string_view text) {
  text = py_strip(text);
  text = py_strip(text.substr(0, text.find('\n')));
  text = stated_answer(drop_prefix(text));
  text = py_strip(text.substr(0, text.find_first_of(".!?;")));
  const std::vector<std::string_view> words = py_split(text);
  std::string answer(text);
  if (words.size() > 5) {
    answer = words[0];
    for (std::size_t i = 1; i < 5; ++i) answer.append(" ").append(words[i]);
  }
  return answer.empty() ? "unknown" : answer;
}

std::string original_normalize(std::string_view text) {
  const std::string lower = py_lower(py_strip(text));
  std::string out;
  for (std::string_view rest = lower; !rest.empty();) {
    if (take_spaces(rest)) {
      out.push_back(' ');
      continue;
    }
    const char32_t code = take_char(rest);
    if (is_py_word(code)) append_char(out, code);
  }
  return out;
}

double original_accuracy(std::string_view prediction, const std::vector<std::string>& answers) {
  const std::string wanted = original_normalize(original_short_answer(prediction));
  const auto equal = std::count_if(answers.begin(), answers.end(), [&](const std::string& answer) {
    return original_normalize(answer) == wanted;
  });
  return std::min(static_cast<double>(equal) / 3.0, 1.0);
}

}  // namespace vmla
