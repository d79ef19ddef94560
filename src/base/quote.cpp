#include "base/quote.h"

#include <fmt/format.h>

namespace vmla {

std::string one_line(std::string_view text) {
  constexpr std::size_t kLongest = 160;
  std::string out;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return text.size() > kLongest ? out + "..." : out;
}

std::string quote(std::string_view text) {
  return "\"" + one_line(text) + "\"";
}

}  // namespace vmla
