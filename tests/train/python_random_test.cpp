#include "train/python_random.h"

#include <gtest/gtest.h>

#include <numeric>

namespace vmla {
namespace {

// python3 -c "import random; random.seed(42); a = list(range(20)); random.shuffle(a); print(a)"
TEST(PythonRandom, ShufflesAsPython) {
  std::vector<int> items(20);
  std::iota(items.begin(), items.end(), 0);
  PythonRandom(42).shuffle(items);
  EXPECT_EQ(items, (std::vector<int>{19, 5,  14, 4,  9, 13, 15, 18, 6, 12,
                                     17, 10, 1,  11, 2, 16, 7,  8,  0, 3}));
}

// random.seed(42); [random.getrandbits(32) for _ in range(1000)][::333]
TEST(PythonRandom, DrawsAsPythonBeyondTheFirstBlock) {
  PythonRandom random(42);
  std::vector<std::uint32_t> drawn;
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t value = random.next();
    if (i % 333 == 0) drawn.push_back(value);
  }
  EXPECT_EQ(drawn, (std::vector<std::uint32_t>{2746317213U, 1196050747U, 464267175U, 4212168831U}));
}

// random.seed(0); a = list(range(100000)); random.shuffle(a); a[:5], a[-5:]
TEST(PythonRandom, ShufflesALongList) {
  std::vector<int> items(100000);
  std::iota(items.begin(), items.end(), 0);
  PythonRandom(0).shuffle(items);
  EXPECT_EQ(std::vector<int>(items.begin(), items.begin() + 5),
            (std::vector<int>{74921, 6849, 99252, 14859, 14403}));
  EXPECT_EQ(std::vector<int>(items.end() - 5, items.end()),
            (std::vector<int>{33936, 5306, 55125, 99346, 50494}));
}

}  // namespace
}  // namespace vmla
