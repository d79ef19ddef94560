// The layout "shared" as a checkpoint: its config, its tensors, and a model that is loaded from it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/load.h"
#include "model/mla_config.h"
#include "random_model.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;

Json shared_config(const std::string& model) {
  Json config = read_json(test::golden_dir() / "models" / model / "config.json");
  Json ours = Json::object();
  ours["format_version"] = kVlmMlaFormatVersion;
  set_shared_layers(ours, {{{0, 5, 5}, 12}, {{7}, 20}});
  config["vlm_mla"] = std::move(ours);
  return config;
}

ModelConfig parsed(const Json& config) {
  return parse_model_config(config, "config.json");
}

TEST(SharedLayout, ConfigRoundTrips) {
  const Json json = shared_config("mha");
  const ModelConfig config = parsed(json);
  ASSERT_TRUE(config.mla.has_value());
  ASSERT_TRUE(config.mla->is_shared());
  EXPECT_EQ(config.mla->shared_layers[0].frequencies, (std::vector<std::int64_t>{0, 5, 5}));
  EXPECT_EQ(config.mla->shared_shape(config.text.attention_shape(), 1).latent_dim, 20);
  Json again = Json::object();
  set_shared_layers(again, config.mla->shared_layers);
  EXPECT_EQ(again.at("layers"), json.at("vlm_mla").at("layers"));
  EXPECT_FALSE(parsed(read_json(test::golden_dir() / "models/mha/config.json")).mla.has_value());
}

TEST(SharedLayout, ConfigsThatDoNotFitAreRefused) {
  const auto refused = [](ErrorKind kind, const std::string& text, auto change) {
    Json config = shared_config("mha");
    change(config["vlm_mla"]);
    return fails_with(kind, {"config.json", text}, [&] { parsed(config); });
  };
  EXPECT_TRUE(
      refused(ErrorKind::Unsupported, "rope_layout", [](Json& j) { j["rope_layout"] = "x"; }));
  EXPECT_TRUE(
      refused(ErrorKind::Unsupported, "format_version", [](Json& j) { j["format_version"] = 99; }));
  EXPECT_TRUE(refused(ErrorKind::Config, "layers", [](Json& j) { j.erase("layers"); }));
  EXPECT_TRUE(refused(ErrorKind::Config, "layers", [](Json& j) { j["layers"].erase(1); }));
  EXPECT_TRUE(refused(ErrorKind::Config, "rope_frequencies", [](Json& j) {
    j["layers"][0]["rope_frequencies"] = Json::array();
  }));
  EXPECT_TRUE(refused(ErrorKind::Config, "rope_frequencies", [](Json& j) {
    j["layers"][0]["rope_frequencies"][2] = 8;
  }));
  EXPECT_TRUE(refused(
      ErrorKind::Config, "latent_dims", [](Json& j) { j["layers"][1]["latent_dims"] = 0; }));
}

class SharedLayoutModel : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedLayoutModel, LoadsAndDecodesAsItPrefills) {
  const at::NoGradGuard no_grad;
  const test::TempDir dir;
  write_random_model(dir / "model", shared_config(GetParam()), 3, at::kFloat);
  const Checkpoint checkpoint = Checkpoint::open(dir / "model");
  const ModelConfig config = parsed(checkpoint.config());
  const auto model = load_vlm(checkpoint);
  const std::int64_t half = config.text.head_dim / 2;
  ASSERT_GT(half, 7);
  EXPECT_EQ(elements_per_token(model->decoder().cache_layouts(CacheMode::Native)),
            (6 + 12) + (2 + 20));

  const at::Tensor ids = at::arange(3, 17, at::kLong).unsqueeze(0);
  const at::Tensor whole = model->forward(ids, {}, {});
  const auto cache = model->make_cache(1, CacheMode::Native);
  std::vector<at::Tensor> steps;
  for (std::int64_t t = 0; t < ids.size(1); ++t) {
    DecoderInput input;
    input.embeddings = model->embed(ids.narrow(1, t, 1), {});
    input.positions = at::full({1, 1}, t, at::kLong);
    input.cache = cache.get();
    steps.push_back(model->decoder().logits(model->decoder().forward(input)));
  }
  EXPECT_TRUE(test::close(at::cat(steps, 1), whole, {1e-5, 1e-5}));
  EXPECT_EQ(cache->bytes(), 14 * 40 * 4);
}

TEST_P(SharedLayoutModel, SavedAgainItIsTheSameFile) {
  const test::TempDir dir;
  write_random_model(dir / "model", shared_config(GetParam()), 3, at::kFloat);
  const Checkpoint checkpoint = Checkpoint::open(dir / "model");
  const auto model = load_vlm(checkpoint);
  for (const NamedParameter& parameter : model->parameters())
    EXPECT_TRUE(test::same_bits(*parameter.tensor, checkpoint.tensor(parameter.name)));
}

TEST_P(SharedLayoutModel, TensorsOfAnotherWidthAreNamed) {
  const test::TempDir dir;
  Json config = shared_config(GetParam());
  write_random_model(dir / "model", config, 3, at::kFloat);
  config["vlm_mla"]["layers"][1]["latent_dims"] = 21;
  write_json(dir / "model/config.json", config);
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint,
      {"layers.1.self_attn.kv_proj.down_kv.weight", "layers.1.self_attn.kv_proj.up_v.weight"},
      [&] { load_vlm(dir / "model"); }));
}

INSTANTIATE_TEST_SUITE_P(Models, SharedLayoutModel, ::testing::Values("mha", "gqa", "qwen2"));

}  // namespace
}  // namespace vmla
