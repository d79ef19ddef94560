// FNV-1a, 64 bits, as the golden scripts compute it.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace vmla::test {

// bytes: any container of bytes.
template <typename Bytes>
std::string fnv(const Bytes& bytes) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const auto byte : bytes) value = (value ^ static_cast<std::uint8_t>(byte)) * 0x100000001b3;
  return fmt::format("{:016x}", value);
}

}  // namespace vmla::test
