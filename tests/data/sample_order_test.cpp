#include "data/sample_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace vmla {
namespace {

using Indices = std::vector<std::int64_t>;

Indices sorted(Indices indices) {
  std::sort(indices.begin(), indices.end());
  return indices;
}

Indices up_to(std::int64_t count) {
  Indices out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

// torch.randperm(n, generator=torch.Generator().manual_seed(seed)) of PyTorch 2.11.
TEST(ShuffledOrder, EqualsTorchRandperm) {
  EXPECT_EQ(shuffled_order(10, 42), (Indices{2, 6, 1, 8, 4, 5, 0, 9, 3, 7}));
  EXPECT_EQ(shuffled_order(7, 43), (Indices{3, 1, 2, 4, 5, 0, 6}));
  EXPECT_EQ(shuffled_order(0, 1), Indices{});
  const Indices large = shuffled_order(100000, 5);
  EXPECT_EQ(Indices(large.begin(), large.begin() + 4), (Indices{53411, 99184, 41565, 33006}));
  EXPECT_EQ(sorted(large), up_to(100000));
}

TEST(ModalityLengths, CountsWordsAndSignsTextOnly) {
  const std::vector<InstructSample> samples = {
      {"a", "i.jpg", {{"human", "<image>\nWhat is it?"}, {"gpt", " A\tcat "}}},
      {"b", "", {{"human", "Hi"}, {"gpt", ""}}},
      {"c", "", {{"human", " "}}}};
  EXPECT_EQ(modality_lengths(samples), (Indices{6, -1, -1}));
}

// One modality, one megabatch: longest first, dealt to whoever has fewest words and still room.
TEST(LengthGroupedOrder, DealsOneMegabatchEvenly) {
  EXPECT_EQ(length_grouped_order({10, 9, 8, 1}, 2, 2, 7), (Indices{0, 3, 1, 2}));
  EXPECT_EQ(length_grouped_order({-1, -8, -9, -10}, 2, 2, 7), (Indices{3, 0, 2, 1}));
  // Five do not divide by two: round robin.
  EXPECT_EQ(length_grouped_order({50, 40, 30, 20, 10}, 3, 2, 7), (Indices{0, 2, 4, 1, 3}));
}

TEST(LengthGroupedOrder, MegabatchesAreOfOneModality) {
  Indices lengths;
  for (std::int64_t i = 0; i < 103; ++i) lengths.push_back(i % 3 == 0 ? -(i % 17 + 1) : i % 13 + 1);
  const std::int64_t batch = 4, chunks = 2, megabatch = batch * chunks;
  const Indices order = length_grouped_order(lengths, batch, chunks, 3);
  EXPECT_EQ(sorted(order), up_to(103));
  // 35 text-only and 68 with an image: 4 and 8 whole megabatches, 3 + 4 left for the end.
  std::int64_t text_megabatches = 0;
  for (std::int64_t m = 0; m < 12; ++m) {
    std::set<bool> image;
    for (std::int64_t i = m * megabatch; i < (m + 1) * megabatch; ++i) {
      image.insert(lengths[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] > 0);
    }
    EXPECT_EQ(image.size(), 1U) << m;
    text_megabatches += *image.begin() ? 0 : 1;
  }
  EXPECT_EQ(text_megabatches, 4);
  const Indices rest(order.begin() + 96, order.end());
  EXPECT_EQ(rest, sorted(rest));
  EXPECT_EQ(std::count_if(rest.begin(), rest.end(), [](auto i) { return i % 3 == 0; }), 3);

  EXPECT_EQ(order, length_grouped_order(lengths, batch, chunks, 3));
  EXPECT_NE(order, length_grouped_order(lengths, batch, chunks, 4));
}

TEST(LengthGroupedOrder, SortsInsideAMegabatch) {
  Indices lengths;
  for (std::int64_t i = 0; i < 64; ++i) lengths.push_back(i * 7 % 64 + 1);
  const Indices order = length_grouped_order(lengths, 8, 1, 1);
  for (std::size_t m = 0; m < 64; m += 8) {
    for (std::size_t i = m + 1; i < m + 8; ++i) {
      EXPECT_GE(lengths[static_cast<std::size_t>(order[i - 1])],
                lengths[static_cast<std::size_t>(order[i])]);
    }
  }
}

}  // namespace
}  // namespace vmla
