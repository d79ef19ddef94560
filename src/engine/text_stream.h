// Token ids to text as they come, up to a stop string.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "input/tokenizer.h"

namespace vmla {

// Passes text on until a stop string is complete; what might be the start of one is held back.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  // The text that is safe to show. Nothing more comes once stopped().
  std::string push(std::string_view text);
  std::string finish();  // what was held back
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

// The concatenation of all pieces is the decoded text, cut before the first stop string.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops)
      : decoder_(tokenizer), filter_(std::move(stops)) {}
  std::string push(std::int64_t id) { return filter_.push(decoder_.push(id)); }
  std::string finish();
  bool stopped() const { return filter_.stopped(); }

 private:
  StreamDecoder decoder_;
  StopFilter filter_;
};

}  // namespace vmla
