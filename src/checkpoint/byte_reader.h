// Bounds-checked little-endian reading of untrusted bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace vmla {

// Errors: ErrorKind::Checkpoint when the bytes end too early; what names the part that is read.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string subject, const char* what)
      : bytes_(bytes), subject_(std::move(subject)), what_(what) {}

  std::uint64_t at() const { return at_; }
  bool done() const { return at_ == bytes_.size(); }

  std::span<const std::byte> take(std::uint64_t size) {
    check(size <= bytes_.size() - at_,
          ErrorKind::Checkpoint,
          "{}: {} ends early (truncated?)",
          subject_,
          what_);
    const auto part = bytes_.subspan(at_, size);
    at_ += size;
    return part;
  }
  std::string_view text(std::uint64_t size) {
    const auto part = take(size);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::uint64_t number(int size) {
    std::uint64_t value = 0;
    const auto part = take(static_cast<std::uint64_t>(size));
    for (int i = size - 1; i >= 0; --i) {
      value = value << 8 | std::to_integer<std::uint64_t>(part[static_cast<std::size_t>(i)]);
    }
    return value;
  }
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }

 private:
  std::span<const std::byte> bytes_;
  std::string subject_;
  const char* what_;
  std::uint64_t at_ = 0;
};

}  // namespace vmla
