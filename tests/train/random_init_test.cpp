#include "train/random_init.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/family.h"
#include "support/expect_close.h"
#include "support/golden.h"

namespace vmla {
namespace {

struct Drawn {
  ModelConfig model;
  std::map<std::string, at::Tensor> weights;
};

Drawn draw(std::uint64_t seed) {
  const fs::path path = test::golden_dir() / "models/mha/config.json";
  const Json config = read_json(path);
  const Family& family = find_family(config, path.string());
  Drawn drawn{family.parse_config(config, path.string()), {}};
  drawn.weights = random_weights(family.tensor_specs(drawn.model), drawn.model, config, seed);
  return drawn;
}

TEST(RandomInit, HasTransformersDistributions) {
  const Drawn drawn = draw(1);
  const auto deviation = [&](const std::string& name) {
    return drawn.weights.at(name).std().item<double>();
  };
  const std::string layer = "vision_tower.vision_model.encoder.layers.0.";
  const double width = 1.0 / std::sqrt(32.0), depth = 1.0 / std::sqrt(6.0);
  const std::map<std::string, double> expected{
      {"language_model.model.layers.0.mlp.up_proj.weight", 0.02},
      {"language_model.model.layers.1.self_attn.o_proj.weight", 0.02},
      {"language_model.lm_head.weight", 0.02},
      {"multi_modal_projector.linear_1.weight", 0.02},
      {"vision_tower.vision_model.embeddings.patch_embedding.weight", 0.02},
      {layer + "self_attn.k_proj.weight", width * depth},
      {layer + "self_attn.out_proj.weight", width},
      {layer + "mlp.fc1.weight", width / std::sqrt(2.0)},
      {layer + "mlp.fc2.weight", width * depth}};
  for (const auto& [name, wanted] : expected) {
    EXPECT_NEAR(deviation(name), wanted, 0.05 * wanted) << name;
  }
  for (const auto& [name, tensor] : drawn.weights) {
    if (name.ends_with(".bias")) {
      EXPECT_EQ(tensor.abs().max().item<float>(), 0.0F) << name;
    } else if (name.find("norm") != std::string::npos) {
      EXPECT_EQ(tensor.min().item<float>(), 1.0F) << name;
      EXPECT_EQ(tensor.max().item<float>(), 1.0F) << name;
    }
  }
}

TEST(RandomInit, FollowsTheSeed) {
  const Drawn a = draw(1), b = draw(1), c = draw(2);
  for (const auto& [name, tensor] : a.weights) {
    EXPECT_TRUE(test::same_bits(tensor, b.weights.at(name))) << name;
  }
  const std::string head = "language_model.lm_head.weight";
  EXPECT_FALSE(at::equal(a.weights.at(head), c.weights.at(head)));
}

}  // namespace
}  // namespace vmla
