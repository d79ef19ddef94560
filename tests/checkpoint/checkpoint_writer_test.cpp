#include "checkpoint/checkpoint_writer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expect_error.h"
#include "support/expect_close.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::same_bits;
using test::slurp;
using test::TempDir;

TEST(CheckpointWriter, SavesWhatIsLoaded) {
  const TempDir dir;
  at::manual_seed(1);
  const at::Tensor a = at::randn({5, 7});
  const at::Tensor b = at::randn({3, 4}).to(at::kBFloat16);
  dir.write("config.json", "{}");
  CheckpointWriter writer(dir.path(), {{"a", {5, 7}, at::kFloat}, {"b", {3, 4}, at::kBFloat16}});
  writer.write("b", b);
  writer.write("a", a);
  writer.finish();
  const Checkpoint loaded = Checkpoint::open(dir.path());
  EXPECT_TRUE(same_bits(loaded.tensor("a"), a));
  EXPECT_TRUE(same_bits(loaded.tensor("b"), b));
}

}  // namespace
}  // namespace vmla
