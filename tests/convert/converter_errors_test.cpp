// Bad input and damage: the right kind, one line, nothing left behind.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <ATen/ATen.h>

#include <csignal>
#include <limits>

#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/rank_file.h"
#include "convert/conversion_support.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails;
using test::golden_conversion;

const fs::path kModels = "tests/golden/models";

// A conversion that must fail, and leave its output's folder as it was.
class ConverterErrors : public ::testing::Test {
 protected:
  ConverterErrors() : options_(golden_conversion("mha", dir_ / "outputs/out")) {
    fs::create_directories(dir_ / "outputs");
  }
  ::testing::AssertionResult refuses(ErrorKind kind, const std::string& text) {
    const auto result = fails(kind, text, [&] { convert_checkpoint(options_); });
    if (!result) return result;
    if (!fs::is_empty(dir_ / "outputs"))
      return ::testing::AssertionFailure() << "something is left in the output's folder";
    return result;
  }
  // A copy of a golden model whose weights change may edit.
  fs::path edited_model(const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
    const fs::path to = dir_ / "edited";
    fs::remove_all(to);
    fs::copy(kModels / "mha", to);
    auto tensors = test::read_golden("models/mha/model.safetensors");
    change(tensors);
    write_safetensors(to / "model.safetensors", {tensors.begin(), tensors.end()});
    return to;
  }

  test::TempDir dir_;
  ConversionOptions options_;
};

// rope_dim_for_mla, partial_rope_version and uniform_start_point are unchecked in the original.
TEST_F(ConverterErrors, Selection) {
  for (const std::int64_t rope_dim : {0, -2, 7, 18}) {
    options_.rope.rope_dim = rope_dim;
    EXPECT_TRUE(refuses(ErrorKind::Usage, "rope_dim_for_mla: expected an even number")) << rope_dim;
  }
  options_.rope.rope_dim = 8;
  options_.rope.version = "highest";
  EXPECT_TRUE(refuses(ErrorKind::Usage, "partial_rope_version: expected high, low"));
  options_.rope.version = "uniform";
  options_.rope.rope_dim = 6;
  EXPECT_TRUE(refuses(ErrorKind::Usage, "rope_dim_for_mla: expected a divisor of head_dim 16"));
  options_.rope.rope_dim = 8;
  options_.rope.uniform_start_point = 2;
  EXPECT_TRUE(refuses(ErrorKind::Usage, "uniform_start_point: expected 0 to 1, got 2"));
}

TEST_F(ConverterErrors, LowRank) {
  for (const std::int64_t low_rank : {0, -1, 17}) {  // E = 64, K = 4
    options_.low_rank = low_rank;
    EXPECT_TRUE(refuses(ErrorKind::Usage,
                        fmt::format("low_rank: expected 1 to 16 (times 4 KV heads it is the full "
                                    "rank), got {}",
                                    low_rank)));
  }
  options_.svd_init_method = SvdMethod::Split;  // K_nope has 4 * 8 rows
  options_.low_rank = 9;
  EXPECT_TRUE(refuses(ErrorKind::Usage, "low_rank: expected 1 to 8"));
  options_.svd_init_method = SvdMethod::OnlyKey;
  options_.low_rank = 4;
  options_.rope.rope_dim = 16;
  EXPECT_TRUE(refuses(ErrorKind::Usage, "svd_init_method: expected joint, only_value or none"));
}

TEST_F(ConverterErrors, RankFile) {
  options_.rope.version = "2-norm";
  EXPECT_TRUE(refuses(ErrorKind::Usage, "qk_tensor_path: expected the rank file"));
  options_.qk_tensor_path = (dir_ / "none.pth").string();
  EXPECT_TRUE(refuses(ErrorKind::Io, "none.pth"));
  options_.qk_tensor_path = dir_.write("damaged.pth", "PK\x03\x04 no zip").string();
  EXPECT_TRUE(refuses(ErrorKind::Checkpoint, "damaged.pth"));
  const at::Tensor ranks = read_rank_file("tests/golden/conversion/ranks_mha.pth");
  options_.qk_tensor_path = (dir_ / "three_heads.pth").string();
  write_rank_file(options_.qk_tensor_path, ranks.slice(1, 0, 3).contiguous());
  EXPECT_TRUE(refuses(ErrorKind::Checkpoint,
                      "three_heads.pth: expected ranks [2, 4, 16] for this model, got [2, 3, 16]"));
  options_.qk_tensor_path = (dir_ / "one_layer.pth").string();
  write_rank_file(options_.qk_tensor_path, ranks.slice(0, 0, 1).contiguous());
  EXPECT_TRUE(refuses(ErrorKind::Checkpoint, "got [1, 4, 16]"));
}

TEST_F(ConverterErrors, AlreadyConverted) {
  options_.output_dir = dir_ / "converted";
  convert_checkpoint(options_);
  options_.model = dir_ / "converted";
  options_.output_dir = dir_ / "outputs/out";
  EXPECT_TRUE(refuses(ErrorKind::Unsupported, "has latent attention already"));
}

TEST_F(ConverterErrors, Source) {
  options_.model = dir_ / "none";
  EXPECT_TRUE(refuses(ErrorKind::Io, "expected a model directory"));

  fs::copy(kModels / "sharded", dir_ / "missing_shard");
  fs::remove(dir_ / "missing_shard/model-00002-of-00003.safetensors");
  options_.model = dir_ / "missing_shard";
  EXPECT_TRUE(refuses(ErrorKind::Io, "model-00002-of-00003.safetensors"));

  fs::copy(kModels / "sharded", dir_ / "short_shard");
  const fs::path shard = dir_ / "short_shard/model-00003-of-00003.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 100);
  options_.model = dir_ / "short_shard";
  EXPECT_TRUE(refuses(ErrorKind::Checkpoint, "model-00003-of-00003.safetensors"));

  const std::string up = "language_model.model.layers.1.mlp.up_proj.weight";
  options_.model = edited_model([&](auto& tensors) { tensors.erase(up); });
  EXPECT_TRUE(refuses(ErrorKind::Checkpoint, up + ": expected [96, 64], missing"));
  options_.model = edited_model([&](auto& tensors) { tensors["another.weight"] = at::ones({2}); });
  EXPECT_TRUE(refuses(ErrorKind::Checkpoint, "another.weight: unexpected"));
}

TEST_F(ConverterErrors, NonFiniteWeights) {
  options_.model = edited_model([](auto& tensors) {
    tensors["language_model.model.layers.1.self_attn.v_proj.weight"][3][5] =
        std::numeric_limits<float>::quiet_NaN();
  });
  EXPECT_TRUE(refuses(ErrorKind::Numeric, "layer 1: weights: expected finite numbers"));
}

TEST_F(ConverterErrors, ValuesBeyondHalf) {
  options_.model = edited_model(
      [](auto& tensors) { tensors["language_model.model.norm.weight"][0] = 70000.0F; });
  options_.dtype = at::kHalf;
  EXPECT_TRUE(refuses(ErrorKind::Numeric, "language_model.model.norm.weight: expected values"));
}

TEST_F(ConverterErrors, OutputExists) {
  convert_checkpoint(options_);
  const auto before = test::directory_content(dir_ / "outputs");
  options_.low_rank = 6;
  EXPECT_TRUE(fails(ErrorKind::Usage, "it exists already (--overwrite replaces it)", [&] {
    convert_checkpoint(options_);
  }));
  EXPECT_EQ(test::directory_content(dir_ / "outputs"), before);
  // A failure with --overwrite leaves the old model as it was.
  options_.overwrite = true;
  options_.model = edited_model([](auto& tensors) {
    tensors["language_model.model.layers.1.self_attn.k_proj.weight"].fill_(
        std::numeric_limits<float>::infinity());
  });
  EXPECT_TRUE(fails(ErrorKind::Numeric, "layer 1", [&] { convert_checkpoint(options_); }));
  EXPECT_EQ(test::directory_content(dir_ / "outputs"), before);
}

TEST_F(ConverterErrors, OverwriteSparesWhatIsNoModel) {
  options_.overwrite = true;
  dir_.write("outputs/out/letter.txt", "dear");
  EXPECT_TRUE(
      fails(ErrorKind::Usage, "found no config.json", [&] { convert_checkpoint(options_); }));
  EXPECT_EQ(test::slurp(dir_ / "outputs/out/letter.txt"), "dear");
  options_.output_dir = dir_.write("outputs/file", "content");
  EXPECT_TRUE(fails(ErrorKind::Usage, "file", [&] { convert_checkpoint(options_); }));
  EXPECT_EQ(test::slurp(dir_ / "outputs/file"), "content");
}

TEST_F(ConverterErrors, OverwriteNeverTakesTheSource) {
  fs::create_directories(dir_ / "work");
  fs::copy(kModels / "mha", dir_ / "work/model");
  dir_.write("work/config.json", "{}");
  options_.model = dir_ / "work/model";
  options_.overwrite = true;
  for (const fs::path& output : {dir_ / "work/model", dir_ / "work/model/", dir_ / "work"}) {
    options_.output_dir = output;
    EXPECT_TRUE(
        fails(ErrorKind::Usage, "which would be lost", [&] { convert_checkpoint(options_); }));
  }
  EXPECT_EQ(test::directory_content(dir_ / "work/model"), test::directory_content(kModels / "mha"));
}

TEST_F(ConverterErrors, DiskFull) {
  // A file-size limit below the weights' stands for a full disk; without a handler it would kill.
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 100'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto result = refuses(ErrorKind::Io, "model.safetensors");
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(result);
}

TEST_F(ConverterErrors, UnwritableParent) {
  options_.output_dir = dir_.write("blocked", "a file") / "out";
  EXPECT_TRUE(refuses(ErrorKind::Io, "blocked"));
}

}  // namespace
}  // namespace vmla
