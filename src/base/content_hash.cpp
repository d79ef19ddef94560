#include "base/content_hash.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace vmla {
namespace {

// Every bit of the input reaches every bit of the output (MurmurHash3's finaliser).
std::uint64_t mixed(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

}  // namespace

void ContentHash::word(std::uint64_t value) {
  state_[0] = std::rotl(state_[0] ^ (value * 0x9fb21c651e98df25ULL), 29) * 0xbf58476d1ce4e5b9ULL;
  state_[1] = (std::rotl(state_[1], 31) + value) * 0x94d049bb133111ebULL;
}

void ContentHash::add(std::span<const std::byte> bytes) {
  std::size_t at = 0;
  for (; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    word(value);
  }
  std::uint64_t rest = 0;
  if (at < bytes.size()) std::memcpy(&rest, bytes.data() + at, bytes.size() - at);
  word(rest);
  word(bytes.size());
}

std::string ContentHash::hex() const {
  const std::uint64_t first = mixed(state_[0] + mixed(state_[1]));
  return fmt::format("{:016x}{:016x}", first, mixed(state_[1] ^ first));
}

}  // namespace vmla
