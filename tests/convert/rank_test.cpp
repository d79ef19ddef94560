// Ranking by 2-norm against transformers and the Python original (tests/golden/rank).
#include "convert/rank_2norm.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "checkpoint/rank_file.h"
#include "convert/conversion_support.h"
#include "convert/pair_norms.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::fails;
using test::same_bits;

const fs::path kData = "tests/golden/rank";
constexpr test::Tolerance kScores{0, 1e-5};

class Rank : public ::testing::Test {
 protected:
  RankOptions options(const std::string& model) const {
    RankOptions out;
    out.model = test::golden_dir() / "models" / model;
    out.output_path = dir_ / "deep/ranks.pth";
    out.dataset = kData / "instruct.json";
    out.image_root = kData / "images";
    out.dtype = at::kFloat;
    return out;
  }
  // A dataset of entries like {"id", "image", "conversations"}.
  fs::path dataset(const Json& entries) const { return dir_.write("data.json", entries.dump()); }
  static Json entry(const std::string& id, const std::string& image, const std::string& question) {
    return {{"id", id},
            {"image", image},
            {"conversations", {{{"from", "human"}, {"value", question}}}}};
  }
  test::TempDir dir_;
};

TEST_F(Rank, ScoresAndRanksEqualTheOriginals) {
  const auto expected = test::read_golden("rank/expected.safetensors");
  for (const std::string model : {"mha", "gqa"}) {
    SCOPED_TRACE(model);
    const RankReport report = rank_by_2norm(options(model));
    EXPECT_TRUE(close(report.scores, expected.at(model + ".scores"), kScores));
    const at::Tensor want = read_rank_file(kData / ("ranks_" + model + ".pth"));
    EXPECT_TRUE(same_bits(report.ranks, want));
    EXPECT_TRUE(same_bits(read_rank_file(dir_ / "deep/ranks.pth"), want));
    EXPECT_EQ(report.used, 6);
    ASSERT_EQ(report.skipped.size(), 1U);
    EXPECT_EQ(report.skipped[0].id, "000003");
    EXPECT_EQ(report.skipped[0].reason, "no image");
    ASSERT_EQ(report.broken.size(), 1U);
    EXPECT_EQ(report.broken[0].id, "000005");
    EXPECT_NE(report.broken[0].reason.find("missing.jpg"), std::string::npos);
    const Json json = report.json();
    EXPECT_EQ(json.at("samples"), Json({{"used", 6}, {"skipped", 1}, {"broken", 1}}));
    EXPECT_EQ(json.at("broken")[0].at("id"), "000005");
  }
}

// The tolerance is worth something: without one of the six samples the scores are off.
TEST_F(Rank, PlantedErrorIsFound) {
  const auto expected = test::read_golden("rank/expected.safetensors");
  RankOptions fewer = options("mha");
  fewer.sample_size = 7;
  const RankReport report = rank_by_2norm(fewer);
  EXPECT_EQ(report.used, 5);
  EXPECT_FALSE(close(report.scores, expected.at("mha.scores"), kScores));
}

TEST_F(Rank, BatchSizeDoesNotChangeTheResult) {
  const RankReport one = rank_by_2norm(options("gqa"));
  for (const std::int64_t batch_size : {2, 4, 64}) {
    RankOptions batched = options("gqa");
    batched.batch_size = batch_size;
    const RankReport report = rank_by_2norm(batched);
    EXPECT_TRUE(close(report.scores, one.scores, {0, 1e-6})) << batch_size;
    EXPECT_TRUE(same_bits(report.ranks, one.ranks)) << batch_size;
    EXPECT_EQ(report.used, one.used);
  }
}

TEST_F(Rank, HalfPrecisionIsNear) {
  const at::Tensor want = rank_by_2norm(options("mha")).scores;
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    RankOptions half = options("mha");
    half.dtype = dtype;
    const at::Tensor scores = rank_by_2norm(half).scores;
    EXPECT_TRUE(close(scores, want, {0, dtype == at::kHalf ? 0.005 : 0.03}));
    EXPECT_FALSE(close(scores, want, kScores));  // it ran in that dtype
  }
}

TEST_F(Rank, PaddingIsLeftOutOfTheMeans) {
  const auto model = load_vlm(test::golden_dir() / "models/gqa");
  const at::Tensor hidden = at::randn({2, 5, 64}).to(model->dtype());
  at::Tensor real = at::ones({2, 5}, at::kBool);
  real[1].slice(0, 3).fill_(false);
  at::Tensor poisoned = hidden.clone();
  poisoned[1].slice(0, 3).fill_(1e3);
  PairNorms batch(*model), alone(*model);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    batch.add(layer, poisoned, real);
    alone.add(layer, hidden.slice(0, 0, 1), real.slice(0, 0, 1));
    alone.add(layer, hidden.slice(0, 1).slice(1, 0, 3), real.slice(0, 1).slice(1, 0, 3));
  }
  batch.count(2);
  alone.count(2);
  EXPECT_TRUE(close(batch.scores(), alone.scores(), {0, 1e-5}));
}

TEST_F(Rank, BiasesCount) {
  const RankReport report = rank_by_2norm(options("qwen2"));
  EXPECT_EQ(report.ranks.sizes(), at::IntArrayRef({2, 2, 16}));
  const auto model = load_vlm(test::golden_dir() / "models/qwen2");
  PairNorms norms(*model);
  for (std::int64_t layer = 0; layer < 2; ++layer)
    norms.add(layer, at::zeros({1, 1, 64}, model->dtype()), at::ones({1, 1}, at::kBool));
  norms.count(1);
  EXPECT_GT(norms.scores().min().item<double>(), 0.0);
}

TEST_F(Rank, EqualScoresRankInOrder) {
  const at::Tensor scores = at::tensor({1.0, 3.0, 1.0, 3.0}, at::kDouble).reshape({1, 1, 4});
  const at::Tensor want = at::tensor({2, 0, 3, 1, 2, 0, 3, 1}, at::kByte).reshape({1, 1, 8});
  EXPECT_TRUE(same_bits(ranks_of_scores(scores), want));
}

TEST_F(Rank, MaxLengthCutsTextOnly) {
  RankOptions o = options("mha");
  const std::string words = "What is the cat doing in the small kitchen near the bridge?";
  o.dataset = dataset(Json::array({entry("long", "a.png", words)}));
  const at::Tensor whole = rank_by_2norm(o).scores;
  o.max_length = 8;  // BOS, four image tokens, then three of the text
  const at::Tensor cut = rank_by_2norm(o).scores;
  EXPECT_FALSE(close(cut, whole, kScores));
  o.max_length = 500;
  EXPECT_TRUE(same_bits(rank_by_2norm(o).scores, whole));
  o.max_length = 4;
  EXPECT_TRUE(fails(ErrorKind::Io, "--max_length: expected 5 or more for the image, got 4", [&] {
    rank_by_2norm(o);
  }));
}

// The original swallows these and counts nothing.
TEST_F(Rank, BrokenSamplesAreCounted) {
  fs::copy(kData / "images", dir_ / "images");
  dir_.write("images/empty.jpg", "");
  dir_.write("images/text.png", "not a picture");
  RankOptions o = options("mha");
  o.image_root = dir_ / "images";
  o.dataset = dataset(Json::array({entry("good", "a.png", "What is it?"),
                                   entry("zero", "empty.jpg", "What is it?"),
                                   entry("text", "text.png", "What is it?"),
                                   entry("silent", "a.png", "<image>\n "),
                                   "no object"}));
  const RankReport report = rank_by_2norm(o);
  EXPECT_EQ(report.used, 1);
  ASSERT_EQ(report.skipped.size(), 1U);
  EXPECT_EQ(report.skipped[0].id, "silent");
  EXPECT_EQ(report.skipped[0].reason, "no question");
  std::vector<std::string> ids;
  for (const SampleProblem& problem : report.broken) ids.push_back(problem.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"4", "zero", "text"}));
}

TEST_F(Rank, NoneUsableIsAnError) {
  RankOptions o = options("mha");
  o.dataset = dataset(Json::array({entry("a", "none.png", "What is it?")}));
  EXPECT_TRUE(fails(ErrorKind::Io, "none.png", [&] { rank_by_2norm(o); }));
  o.dataset = dataset(Json::array({{{"id", "b"}, {"conversations", Json::array()}}}));
  EXPECT_TRUE(fails(ErrorKind::Io, "expected usable samples, got none", [&] { rank_by_2norm(o); }));
  o.dataset = dataset(Json::array());
  EXPECT_TRUE(fails(ErrorKind::Config, "data.json", [&] { rank_by_2norm(o); }));
  EXPECT_FALSE(fs::exists(o.output_path));
}

TEST_F(Rank, BadInput) {
  RankOptions o = options("mha");
  o.batch_size = 0;
  EXPECT_TRUE(fails(ErrorKind::Usage, "--batch_size", [&] { rank_by_2norm(o); }));
  o = options("mha");
  o.sample_size = 0;
  EXPECT_TRUE(fails(ErrorKind::Usage, "--sample_size", [&] { rank_by_2norm(o); }));
  o = options("mha");
  o.dataset = dir_ / "none.json";
  EXPECT_TRUE(fails(ErrorKind::Io, "none.json", [&] { rank_by_2norm(o); }));
  o = options("mha");
  o.image_root = dir_ / "no_images";
  EXPECT_TRUE(fails(ErrorKind::Io, "no_images", [&] { rank_by_2norm(o); }));
  o = options("mha");
  o.output_path = dir_.write("file", "") / "ranks.pth";
  EXPECT_TRUE(fails(ErrorKind::Io, "file", [&] { rank_by_2norm(o); }));
  o.output_path = dir_.path();
  EXPECT_TRUE(fails(ErrorKind::Usage, "expected a file name", [&] { rank_by_2norm(o); }));
}

TEST_F(Rank, ConvertedModelsAreRefused) {
  convert_checkpoint(test::golden_conversion("mha", dir_ / "converted"));
  RankOptions o = options("mha");
  o.model = dir_ / "converted";
  EXPECT_TRUE(
      fails(ErrorKind::Unsupported, "has latent attention already", [&] { rank_by_2norm(o); }));
}

TEST_F(Rank, RanksConvert) {
  rank_by_2norm(options("gqa"));
  ConversionOptions conversion = test::golden_conversion("gqa", dir_ / "out");
  conversion.rope.version = "2-norm";
  conversion.qk_tensor_path = (dir_ / "deep/ranks.pth").string();
  convert_checkpoint(conversion);
  EXPECT_TRUE(same_bits(read_rank_file(dir_ / "out/rope_ranks.pth"),
                        read_rank_file(kData / "ranks_gqa.pth")));
}

std::string prompt_of(const std::string& question) {
  InstructSample sample;
  sample.image = "a.png";
  sample.conversations = {{"gpt", "before"}, {"human", question}, {"human", "later"}};
  return calibration_prompt(sample).value_or("none");
}

TEST(CalibrationPrompt, IsTheOriginals) {
  EXPECT_EQ(prompt_of("<image>\nWhat?"), "<image>\nWhat?");
  EXPECT_EQ(prompt_of("What?\n<image>"), "<image>\nWhat?");
  EXPECT_EQ(prompt_of("  Is <image> it <ImageHere>so? \n\t"), "<image>\nIs  it so?");
  EXPECT_EQ(prompt_of("\xe3\x80\x80\xc2\xa0\x1fhm\xe2\x80\xa8"), "<image>\nhm");
  EXPECT_EQ(prompt_of("<image>\n"), "none");
  EXPECT_EQ(prompt_of(" \xc2\xa0 "), "none");
  EXPECT_EQ(prompt_of(""), "none");
  InstructSample text_only;
  text_only.conversations = {{"human", "What?"}};
  EXPECT_FALSE(calibration_prompt(text_only));
}

}  // namespace
}  // namespace vmla
