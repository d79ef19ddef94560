#include "nn/kept_rope_dims.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace vmla {
namespace {

std::vector<std::int64_t> row(const at::Tensor& t, std::int64_t i) {
  std::vector<std::int64_t> out;
  for (std::int64_t j = 0; j < t.size(1); ++j) out.push_back(t[i][j].item<std::int64_t>());
  return out;
}
using Row = std::vector<std::int64_t>;

TEST(RopeSelection, KeptDimensionsOfEachStrategy) {
  EXPECT_EQ(row(kept_rope_dims({"high", 4, 0}, 2, 16, {}), 1), (Row{0, 1, 8, 9}));
  EXPECT_EQ(row(kept_rope_dims({"low", 4, 0}, 2, 16, {}), 0), (Row{6, 7, 14, 15}));
  EXPECT_EQ(row(kept_rope_dims({"uniform", 4, 0}, 2, 16, {}), 0), (Row{0, 4, 8, 12}));
  EXPECT_EQ(row(kept_rope_dims({"uniform", 4, 3}, 2, 16, {}), 0), (Row{3, 7, 11, 15}));
  at::Tensor ranks =
      at::tensor({3, 0, 2, 1, 3, 0, 2, 1, 0, 1, 2, 3, 0, 1, 2, 3}, at::kByte).view({2, 8});
  const at::Tensor kept = kept_rope_dims({"2-norm", 4, 0}, 2, 8, ranks);
  EXPECT_EQ(row(kept, 0), (Row{1, 3, 5, 7}));
  EXPECT_EQ(row(kept, 1), (Row{0, 1, 4, 5}));
  EXPECT_EQ(row(kept_rope_dims({"high", 8, 0}, 1, 8, {}), 0), (Row{0, 1, 2, 3, 4, 5, 6, 7}))
      << "full RoPE";
}

TEST(RopeSelection, RefusesMisfits) {
  for (const RopeSelection& bad : {RopeSelection{"high", 3, 0},
                                   RopeSelection{"high", 0, 0},
                                   RopeSelection{"high", 18, 0},
                                   RopeSelection{"middle", 4, 0},
                                   RopeSelection{"uniform", 6, 0},
                                   RopeSelection{"uniform", 4, 4},
                                   RopeSelection{"uniform", 4, -1}}) {
    try {
      check_rope_selection(bad, 16);
      ADD_FAILURE() << bad.version << " " << bad.rope_dim;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Usage);
    }
  }
  EXPECT_THROW(kept_rope_dims({"2-norm", 4, 0}, 2, 8, {}), Error) << "no ranks";
  EXPECT_THROW(kept_rope_dims({"2-norm", 4, 0}, 2, 8, at::zeros({2, 8}, at::kByte)), Error)
      << "not a permutation";
}

// "all heads' kept rows first, head by head, then all heads' other rows"; query heads share their
// group's choice.
TEST(RopeSelection, ReorderedRows) {
  const at::Tensor kept = at::tensor({0, 2, 1, 3}, at::kLong).view({2, 2});
  const at::Tensor rows = reordered_rows(kept, 4, 4);
  const Row want{0, 2, 4, 6, 9, 11, 13, 15, 1, 3, 5, 7, 8, 10, 12, 14};
  ASSERT_EQ(rows.numel(), 16);
  for (std::int64_t i = 0; i < 16; ++i)
    EXPECT_EQ(rows[i].item<std::int64_t>(), want[static_cast<std::size_t>(i)]) << i;
}

}  // namespace
}  // namespace vmla
