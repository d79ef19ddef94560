#include "checkpoint/rank_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoint/torch_file.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::same_bits;
using test::TempDir;

at::Tensor random_ranks(std::int64_t layers, std::int64_t heads, std::int64_t dim) {
  const at::Tensor half =
      at::rand({layers, heads, dim / 2}).argsort(std::int64_t{-1}, false).to(at::kByte);
  return at::cat({half, half}, -1);
}

// The ranks that MHA2MLA published for LLaVA-1.5-7B, beside the checkout.
TEST(RankFile, ReadsThePublishedFile) {
  const fs::path path = "../shared/data/llava-1.5-7b-mkl-ranks.pth";
  if (!fs::exists(path)) GTEST_SKIP() << path << " is not here";
  const at::Tensor ranks = read_rank_file(path);
  EXPECT_EQ(ranks.scalar_type(), at::kByte);
  EXPECT_EQ(ranks.sizes(), at::IntArrayRef({32, 32, 128}));
  EXPECT_EQ(ranks.sum().item<std::int64_t>(), 32 * 32 * 2 * (63 * 64 / 2));
}

TEST(RankFile, RoundTrips) {
  const TempDir dir;
  at::manual_seed(7);
  for (const std::int64_t dim : {2, 16, 128, 512}) {
    const at::Tensor ranks = random_ranks(2, 3, dim);
    write_rank_file(dir / "ranks.pth", ranks);
    EXPECT_TRUE(same_bits(read_rank_file(dir / "ranks.pth"), ranks)) << dim;
  }
}

TEST(RankFile, RefusesWhatAreNoRanks) {
  const TempDir dir;
  at::manual_seed(7);
  const auto refused = [&](const std::string& message, const at::Tensor& bad) {
    write_torch_tensor(dir / "bad.pth", bad);
    const auto read = fails_with(
        ErrorKind::Checkpoint, {"bad.pth", message}, [&] { read_rank_file(dir / "bad.pth"); });
    if (!read) return read;
    const auto written = fails_with(ErrorKind::Checkpoint, {"out.pth", message}, [&] {
      write_rank_file(dir / "out.pth", bad);
    });
    EXPECT_FALSE(fs::exists(dir / "out.pth"));
    return written;
  };
  const at::Tensor good = random_ranks(2, 2, 8);
  EXPECT_TRUE(refused("expected ranks of uint8", good.to(at::kInt)));
  EXPECT_TRUE(refused("[2, 16]", good.view({2, 16})));
  EXPECT_TRUE(refused("[2, 2, 7]", good.slice(2, 0, 7)));
  EXPECT_TRUE(refused("[0, 2, 8]", good.slice(0, 0, 0)));
  EXPECT_TRUE(refused("up to 512", at::zeros({1, 1, 514}, at::kByte)));
  at::Tensor bad = good.clone();
  bad[1][0][5] = 77;
  EXPECT_TRUE(refused("layer 1, head 0: expected equal ranks in dims 1 and 5", bad));
  bad = good.clone();
  bad[0][1][2] = 4;
  bad[0][1][6] = 4;
  EXPECT_TRUE(refused("layer 0, head 1: expected each rank from 0 to 3 once, got 4 as well", bad));
  bad = good.clone();
  bad[0][1][2] = bad[0][1][0];
  bad[0][1][6] = bad[0][1][0];
  EXPECT_TRUE(refused("twice", bad));
  EXPECT_TRUE(
      fails_with(ErrorKind::Io, {"absent.pth"}, [&] { read_rank_file(dir / "absent.pth"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"one bare tensor"}, [&] {
    read_rank_file("tests/golden/torch_files/views.bin");
  }));
}

}  // namespace
}  // namespace vmla
