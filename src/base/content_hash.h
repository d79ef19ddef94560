// A fast 128-bit hash of bytes: an identity for caches, not a defence against forgery.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vmla {

// Equal sequences of add() give equal hashes; where one part ends and the next begins counts.
class ContentHash {
 public:
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(std::int64_t number) { word(static_cast<std::uint64_t>(number)); }
  std::string hex() const;  // 32 digits

 private:
  void word(std::uint64_t value);
  std::array<std::uint64_t, 2> state_{0x9e3779b97f4a7c15ULL, 0xc2b2ae3d27d4eb4fULL};
};

}  // namespace vmla
