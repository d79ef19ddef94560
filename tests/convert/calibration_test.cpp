// Calibration against the recipe in double (tests/golden/calibration).
#include "convert/calibration.h"

#include <gtest/gtest.h>

#include <set>

#include <ATen/ATen.h>

#include "checkpoint/rank_file.h"
#include "convert/conversion_support.h"
#include "convert/moments.h"
#include "convert/pair_norms.h"
#include "convert/rank_kl.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::fails;
using test::same_bits;

const fs::path kGolden = "tests/golden/calibration";
constexpr test::Tolerance kMoments{1e-4, 1e-5};
constexpr test::Tolerance kDivergences{1e-7, 1e-4};

class Calibration : public ::testing::Test {
 protected:
  static CalibrationOptions data() { return test::golden_calibration(3); }
  static fs::path model(const std::string& name) { return test::golden_dir() / "models" / name; }
  static CalibrationSet load(const std::string& name, const CalibrationOptions& options) {
    const Checkpoint checkpoint = Checkpoint::open(model(name));
    return CalibrationSet::load(
        model(name), parse_model_config(checkpoint.config(), "config.json"), options);
  }
  Moments moments(const std::string& name, const CalibrationOptions& options) const {
    return moments_of(model(name), options);
  }
  Moments moments_of(const fs::path& dir, const CalibrationOptions& options) const {
    const Checkpoint checkpoint = Checkpoint::open(dir);
    const CalibrationSet set =
        CalibrationSet::load(dir, parse_model_config(checkpoint.config(), "config.json"), options);
    MomentsOptions how;
    how.cache_dir = dir_ / "cache";
    return Moments::prepare(checkpoint, set, how);
  }
  at::Tensor kl(const std::string& name, CalibrationOptions options, double image_weight) const {
    KlRankOptions rank;
    rank.model = model(name);
    rank.output_path = dir_ / "ranks.pth";
    rank.data = std::move(options);
    rank.image_weight = image_weight;
    const RankReport report = rank_by_kl(rank);
    EXPECT_TRUE(same_bits(report.ranks, ranks_of_scores(report.scores)));
    EXPECT_TRUE(same_bits(read_rank_file(rank.output_path), report.ranks));
    return report.scores;
  }
  test::TempDir dir_;
};

TEST_F(Calibration, TokensAreTheRecipes) {
  const Json want = read_json(kGolden / "input_ids.json");
  const CalibrationSet set = load("mha", data());
  EXPECT_EQ(set.conversations(), 7);
  EXPECT_EQ(set.text_windows(), 3);
  ASSERT_EQ(set.problems().size(), 1U);
  EXPECT_EQ(set.problems()[0].id, "000005");
  std::size_t row = 0;
  for (std::int64_t b = 0; b < set.batches(); ++b) {
    const TrainBatch batch = set.batch(b);
    EXPECT_EQ(set.is_text(b), row >= 7);
    for (std::int64_t i = 0; i < batch.input_ids.size(0); ++i, ++row) {
      const at::Tensor ids = batch.input_ids[i].masked_select(batch.key_mask[i]);
      EXPECT_TRUE(same_bits(ids, at::tensor(want[row].get<std::vector<std::int64_t>>())));
    }
  }
  EXPECT_EQ(row, want.size());
}

TEST_F(Calibration, MomentsEqualTheRecipe) {
  for (const std::string name : {"mha", "gqa"}) {
    SCOPED_TRACE(name);
    const auto want = test::read_golden("calibration/" + name + ".safetensors");
    const Moments got = moments(name, data());
    EXPECT_EQ(got.computed_layers(), 2);
    const at::Tensor tokens = want.at(name + ".tokens");
    for (std::int64_t i = 0; i < 2; ++i) {
      const LayerMoments layer = got.layer(i);
      EXPECT_EQ(layer.image_tokens(), tokens[0].item<double>());
      EXPECT_EQ(layer.text_tokens(), tokens[1].item<double>());
      const at::Tensor image = want.at(name + ".image_moment")[i];
      const at::Tensor text = want.at(name + ".text_moment")[i];
      const at::Tensor all = (image + text) / tokens.sum();
      EXPECT_TRUE(close(layer.sums[0].slice(0, 0, -1).slice(1, 0, -1), image, kMoments));
      EXPECT_TRUE(close(layer.sums[1].slice(0, 0, -1).slice(1, 0, -1), text, kMoments));
      EXPECT_TRUE(close(layer.second_moment(), all, kMoments));
      EXPECT_TRUE(close(
          layer.second_moment(0.25), 0.25 * image / tokens[0] + 0.75 * text / tokens[1], kMoments));
      EXPECT_TRUE(close(layer.mean(), want.at(name + ".sums")[i].sum(0) / tokens.sum(), kMoments));
      // Weighing the kinds otherwise is found.
      EXPECT_FALSE(close(layer.second_moment(0.25), all, kMoments));
    }
  }
}

TEST_F(Calibration, BatchSizeDoesNotChangeTheMoments) {
  const LayerMoments want = moments("gqa", data()).layer(1);
  for (const std::int64_t size : {1, 64}) {
    CalibrationOptions options = data();
    options.batch_size = size;
    fs::remove_all(dir_ / "cache");
    const Moments got = moments("gqa", options);
    EXPECT_EQ(got.computed_layers(), 2);
    EXPECT_TRUE(close(got.layer(1).sums, want.sums, kMoments)) << size;
  }
}

TEST_F(Calibration, TheCacheIsFoundAgain) {
  const Moments first = moments("mha", data());
  CalibrationOptions batched = data();
  batched.batch_size = 1;
  const Moments again = moments("mha", batched);
  EXPECT_EQ(again.computed_layers(), 0);
  EXPECT_EQ(again.cache().dir(), first.cache().dir());
  // A copy elsewhere is the same model; other data, another text and another model are not.
  fs::copy(model("mha"), dir_ / "copy");
  EXPECT_EQ(moments_of(dir_ / "copy", data()).cache().dir(), first.cache().dir());
  CalibrationOptions fewer = data();
  fewer.samples = 6;
  EXPECT_NE(moments("mha", fewer).cache().dir(), first.cache().dir());
  CalibrationOptions no_text = data();
  no_text.text.clear();
  EXPECT_NE(moments("mha", no_text).cache().dir(), first.cache().dir());
  EXPECT_NE(moments("gqa", data()).cache().dir(), first.cache().dir());
  fs::copy_file("tests/golden/rank/images/b.png",
                dir_ / "b.png");  // the image's bytes count, not its name
  fs::copy("tests/golden/rank/images", dir_ / "images");
  fs::copy_file(dir_ / "b.png", dir_ / "images/a.png", fs::copy_options::overwrite_existing);
  CalibrationOptions other_image = data();
  other_image.image_root = dir_ / "images";
  EXPECT_NE(moments("mha", other_image).cache().dir(), first.cache().dir());
}

TEST_F(Calibration, DamageToTheCacheIsFoundAndRepaired) {
  const Moments whole = moments("mha", data());
  const at::Tensor want = whole.layer(1).sums;
  const fs::path file = whole.cache().dir() / "layer-001.pth";
  const std::string content = test::slurp(file);
  std::string flipped = content;
  flipped[content.size() / 2] = static_cast<char>(flipped[content.size() / 2] ^ 1);
  for (const std::string& damaged :
       {flipped, content.substr(0, content.size() / 2), std::string(), std::string("moments")}) {
    write_file_atomic(file, damaged);
    ::testing::internal::CaptureStderr();
    const Moments repaired = moments("mha", data());
    EXPECT_NE(::testing::internal::GetCapturedStderr().find("computed again"), std::string::npos);
    EXPECT_EQ(repaired.computed_layers(), 1);
    EXPECT_TRUE(same_bits(repaired.layer(1).sums, want));
  }
  fs::copy_file("tests/golden/rank/ranks_mha.pth", file, fs::copy_options::overwrite_existing);
  EXPECT_EQ(moments("mha", data()).computed_layers(), 1);  // a whole file of something else
}

TEST_F(Calibration, DivergencesEqualTheRecipe) {
  for (const std::string name : {"mha", "gqa"}) {
    SCOPED_TRACE(name);
    const auto want = test::read_golden("calibration/" + name + ".safetensors");
    const at::Tensor image = want.at(name + ".kl_image"), text = want.at(name + ".kl_text");
    const at::Tensor tokens = want.at(name + ".tokens");
    const at::Tensor all = (image * tokens[0] + text * tokens[1]) / tokens.sum();
    for (const std::int64_t size : {1, 3, 64}) {
      CalibrationOptions options = data();
      options.batch_size = size;
      EXPECT_TRUE(close(kl(name, options, kAllTokensAlike), all, kDivergences)) << size;
    }
    EXPECT_TRUE(close(kl(name, data(), 0.0), text, kDivergences));
    EXPECT_TRUE(close(kl(name, data(), 1.0), image, kDivergences));
    EXPECT_TRUE(close(kl(name, data(), 0.3), 0.3 * image + 0.7 * text, kDivergences));
    EXPECT_FALSE(close(kl(name, data(), 0.3), 0.31 * image + 0.69 * text, kDivergences));
    EXPECT_GT(all.min().item<double>(), 0.0);
  }
}

TEST_F(Calibration, KlRanksConvert) {
  kl("gqa", data(), kAllTokensAlike);
  ConversionOptions conversion = test::golden_conversion("gqa", dir_ / "out");
  conversion.rope.version = "kl";
  conversion.qk_tensor_path = (dir_ / "ranks.pth").string();
  convert_checkpoint(conversion);
  EXPECT_TRUE(
      same_bits(read_rank_file(dir_ / "out/rope_ranks.pth"), read_rank_file(dir_ / "ranks.pth")));
}

TEST_F(Calibration, SeedsChooseOtherSamples) {
  CalibrationOptions options = data();
  options.samples = 3;
  const std::string first = load("mha", options).content_hash();
  options.seed = 7;
  const std::string seventh = load("mha", options).content_hash();
  EXPECT_NE(seventh, first);
  EXPECT_EQ(load("mha", options).content_hash(), seventh);
  EXPECT_EQ(load("mha", options).conversations(), 3);
}

TEST_F(Calibration, SomeSamplesAreHeldOut) {
  const auto rows = [](const CalibrationSet& set) {
    std::multiset<std::string> out;
    for (std::int64_t b = 0; b < set.batches(); ++b) {
      const TrainBatch batch = set.batch(b);
      for (std::int64_t i = 0; i < batch.input_ids.size(0); ++i) {
        const at::Tensor ids = batch.input_ids[i].masked_select(batch.key_mask[i]);
        const auto* first = ids.const_data_ptr<std::int64_t>();
        out.insert(
            fmt::format("{} {}", set.is_text(b), fmt::join(first, first + ids.size(0), " ")));
      }
    }
    return out;
  };
  CalibrationSet set = load("mha", data());
  const std::string whole_hash = set.content_hash();
  const auto all = rows(set);
  const CalibrationSet held_out = set.hold_out();
  EXPECT_EQ(held_out.conversations(), 2);  // of 7
  EXPECT_EQ(held_out.text_windows(), 1);   // of 3
  EXPECT_EQ(set.conversations(), 5);
  EXPECT_EQ(set.text_windows(), 2);
  auto together = rows(set);
  together.merge(rows(held_out));
  EXPECT_EQ(together, all);
  EXPECT_NE(set.content_hash(), whole_hash);
  EXPECT_NE(set.content_hash(), held_out.content_hash());
  CalibrationOptions many = data();
  many.text_windows = 50;
  many.text_tokens = 3;
  CalibrationSet windows = load("mha", many);
  const std::int64_t count = windows.text_windows();
  ASSERT_GE(count, 12);
  EXPECT_EQ(windows.hold_out().text_windows(), std::max<std::int64_t>(4, count / 10));
  CalibrationOptions few = data();
  few.text.clear();
  few.samples = 2;
  CalibrationSet two = load("mha", few);
  EXPECT_TRUE(fails(ErrorKind::Usage, "3 or more calibration samples", [&] { two.hold_out(); }));
}

TEST_F(Calibration, OneLayerIsInMemoryAtATime) {
  const Checkpoint checkpoint = Checkpoint::open(model("mha"));
  CalibrationModel model(checkpoint, at::kCPU, at::kFloat);
  model.load_inputs();
  const auto loaded = [&](std::int64_t layer) {
    return model.vlm()
        .decoder()
        .layers.at(static_cast<std::size_t>(layer))
        .input_layernorm.weight.defined();
  };
  EXPECT_FALSE(loaded(0) || loaded(1));
  model.layer(1);
  EXPECT_TRUE(!loaded(0) && loaded(1));
  model.release_layer(1);
  EXPECT_FALSE(loaded(1));
}

// The stream through all layers and the head is the model's own forward pass.
TEST_F(Calibration, TheStreamIsTheModel) {
  const at::NoGradGuard no_grad;
  const Checkpoint checkpoint = Checkpoint::open(model("gqa"));
  const CalibrationSet set = load("gqa", data());
  CalibrationModel model(checkpoint, at::kCPU, at::kFloat);
  model.load_inputs();
  CalibrationStream stream(model, set);
  model.release_inputs();
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    visit_attention(model.layer(i),
                    model.config(),
                    stream,
                    [&](const AttentionView& view, const StreamBatch& b) {
                      const at::Tensor want =
                          view.before + model.layer(i).self_attn->forward(view.x, b.context());
                      EXPECT_TRUE(close(view.after, want, {1e-5, 1e-5}));
                    });
    stream.advance(model.layer(i));
  }
  model.load_head();
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  const auto whole = load_vlm(checkpoint, fp32);
  for (std::int64_t b = 0; b < set.batches(); ++b) {
    const TrainBatch data = set.batch(b);
    const at::Tensor want = whole->forward(data.input_ids, {}, data.pixel_values);
    const Decoder& decoder = model.vlm().decoder();
    const at::Tensor got = decoder.logits(decoder.norm.forward(stream.batch(b).hidden));
    EXPECT_TRUE(close(got, want, {1e-4, 0}));
  }
}

TEST_F(Calibration, BadInput) {
  CalibrationOptions options = data();
  options.samples = 0;
  EXPECT_TRUE(fails(ErrorKind::Usage, "--calibration_samples", [&] { load("mha", options); }));
  options = data();
  options.text_tokens = 1;
  EXPECT_TRUE(fails(ErrorKind::Usage, "--calibration_text_tokens", [&] { load("mha", options); }));
  options = data();
  options.text = dir_.write("empty.txt", "");
  EXPECT_TRUE(fails(ErrorKind::Usage, "empty.txt: expected text", [&] { load("mha", options); }));
  options = data();
  options.image_root = dir_.path();
  options.text.clear();
  EXPECT_EQ(load("mha", options).conversations(), 1);  // the one without an image
  options.data = dir_.write("data.json", R"([{"id": "a", "image": "no.png", "conversations": [
      {"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]}])");
  EXPECT_TRUE(fails(ErrorKind::Io, "no.png", [&] { load("mha", options); }));
  EXPECT_TRUE(fails(ErrorKind::Usage, "neither", [&] { load("mha", {}); }));
}

}  // namespace
}  // namespace vmla
