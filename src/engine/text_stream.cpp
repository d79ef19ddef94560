#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

namespace vmla {
namespace {

// The length of the longest end of text that is a proper beginning of stop.
std::size_t partial_match(const std::string& text, const std::string& stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.compare(text.size() - n, n, stop, 0, n) == 0) return n;
  }
  return 0;
}

}  // namespace

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  std::size_t first = std::string::npos;
  std::size_t keep = 0;
  for (const auto& stop : stops_) {
    first = std::min(first, held_.find(stop));
    keep = std::max(keep, partial_match(held_, stop));
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string out = held_.substr(0, first);
    held_.clear();
    return out;
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopFilter::finish() {
  return std::exchange(held_, {});
}

std::string TextStream::finish() {
  std::string out = filter_.push(decoder_.finish());
  return out + filter_.finish();
}

}  // namespace vmla
