// Python's random module, as far as picking a subset needs it.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace vmla {

// random.seed(seed) and the calls after it, bit for bit (Mersenne Twister, MT19937).
class PythonRandom {
 public:
  explicit PythonRandom(std::uint32_t seed);
  std::uint32_t next();                      // getrandbits(32)
  std::uint32_t below(std::uint32_t limit);  // randrange(limit)
  // items.size() < 2^32.
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i-- > 1;) {
      std::swap(items[i], items[below(static_cast<std::uint32_t>(i + 1))]);
    }
  }

 private:
  static constexpr std::size_t kWords = 624;
  void refill();
  std::array<std::uint32_t, kWords> state_;
  std::size_t at_ = kWords;
};

}  // namespace vmla
