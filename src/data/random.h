// Random numbers that are the same on every machine; the distributions of <random> are not.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace vmla {

// SplitMix64. One instance a scene, so that threads need not share a stream.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  // The stream number index of a family that seed and family name.
  Random(std::uint64_t seed, std::uint64_t family, std::uint64_t index)
      : state_(mixed(mixed(mixed(seed) + family) + index)) {}

  std::uint64_t next() { return mixed(state_ += 0x9E3779B97F4A7C15ULL); }
  // 0 .. count-1.
  std::int64_t below(std::int64_t count) {
    return static_cast<std::int64_t>((next() >> 32) * static_cast<std::uint64_t>(count) >> 32);
  }
  std::int64_t between(std::int64_t low, std::int64_t high) {  // both included
    return low + below(high - low + 1);
  }
  bool chance(std::int64_t percent) { return below(100) < percent; }
  template <typename T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<std::size_t>(below(static_cast<std::int64_t>(from.size())))];
  }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[static_cast<std::size_t>(below(static_cast<std::int64_t>(i)))]);
    }
  }

 private:
  static std::uint64_t mixed(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
    return value ^ (value >> 31);
  }
  std::uint64_t state_;
};

}  // namespace vmla
