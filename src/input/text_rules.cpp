#include "input/text_rules.h"

namespace vmla {
namespace {

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(pattern, at);
    out += text.substr(at, found == std::string_view::npos ? found : found - at);
    if (found == std::string_view::npos) return out;
    out += content;
    at = found + pattern.size();
  }
}

}  // namespace

std::string TextRules::normalize(std::string_view text) const {
  std::string out(text);
  for (const Normalizer& normalizer : normalizers) {
    if (!normalizer.prepend) {
      out = replace_all(out, normalizer.pattern, normalizer.content);
    } else if (!out.empty()) {
      out.insert(0, normalizer.content);
    }
  }
  return out;
}

std::vector<std::string> TextRules::words(std::string text, bool first) const {
  if (!metaspace) return {std::move(text)};
  text = replace_all(text, " ", mark);
  const bool wanted = prefix == Prefix::Always || (prefix == Prefix::First && first);
  if (wanted && !text.starts_with(mark)) text.insert(0, mark);
  if (!split) return {std::move(text)};
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(mark, begin + 1), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

TextRules non_legacy_rules(bool add_prefix_space) {
  TextRules rules;
  rules.metaspace = true;
  rules.prefix = add_prefix_space ? TextRules::Prefix::First : TextRules::Prefix::Never;
  return rules;
}

}  // namespace vmla
