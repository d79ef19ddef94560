// The part of a tokenizer that was learned: text without added tokens to ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmla {

// Thread-safe after construction.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  // Appends the ids of text, which is valid UTF-8.
  virtual void encode(std::string_view text, std::vector<std::int64_t>& ids) const = 0;
  virtual std::int64_t size() const = 0;
  virtual std::string token(
      std::int64_t id) const = 0;  // empty for an id without a token; id < size()
  virtual std::optional<std::int64_t> id(std::string_view token) const = 0;
};

}  // namespace vmla
