// Large JSON files one entry at a time, so that gigabytes need the memory of one entry.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vmla {

// Finds where the elements of a JSON list begin and end; what is inside them is parse_json's to
// check. Errors of all: ErrorKind::Config naming subject and the byte.
class JsonListScanner {
 public:
  // text must outlive the scanner.
  JsonListScanner(std::string_view text, std::string subject);
  // The next element as it stands in the text, or nothing behind the last one.
  std::optional<std::string_view> next();
  std::size_t position() const { return at_; }

 private:
  std::string_view text_;
  std::string subject_;
  std::size_t at_ = 0;
  bool first_ = true;
  bool done_ = false;
};

// The members of a JSON object: key and value as it stands in the text.
std::vector<std::pair<std::string, std::string_view>> split_json_object(std::string_view text,
                                                                        const std::string& subject);

}  // namespace vmla
