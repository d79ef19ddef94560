#include <algorithm>
#include <string_view>

#include "convert/rank_2norm.h"
#include "input/utf8.h"

namespace vmla {
namespace {

void erase_all(std::string& text, std::string_view part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at))
    text.erase(at, part.size());
}

// Python's str.strip(): Unicode white space and the four separators U+001C to U+001F.
std::string strip(std::string_view text) {
  std::size_t begin = text.size(), end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = first_utf8_char(text.substr(at));
    const bool space = c.valid && (is_unicode_space(c.code) || (c.code >= 0x1c && c.code <= 0x1f));
    if (!space) {
      begin = std::min(begin, at);
      end = at + c.size;
    }
    at += c.size;
  }
  return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

}  // namespace

std::optional<std::string> calibration_prompt(const InstructSample& sample) {
  if (sample.image.empty()) return std::nullopt;
  const auto first = std::find_if(sample.conversations.begin(),
                                  sample.conversations.end(),
                                  [](const InstructTurn& turn) { return turn.from == "human"; });
  if (first == sample.conversations.end()) return std::nullopt;
  std::string text = first->value;
  for (const char* mark : {"<image>\n", "<image>", "<ImageHere>"}) erase_all(text, mark);
  text = strip(text);
  if (text.empty()) return std::nullopt;
  return "<image>\n" + text;
}

}  // namespace vmla
