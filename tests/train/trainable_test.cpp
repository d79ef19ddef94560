#include "train/trainable.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "model/load.h"
#include "support/golden.h"

namespace vmla {
namespace {

std::set<std::string> parts_trained(const fs::path& dir, Trainable preset) {
  const auto model = load_vlm(dir);
  std::set<std::string> parts;
  for (const NamedParameter& p : select_trainable(model->parameters(), preset)) {
    EXPECT_TRUE(p.tensor->requires_grad()) << p.name;
    const auto self_attn = p.name.find("self_attn.");
    parts.insert(p.name.starts_with("language_model.") && self_attn != std::string::npos
                     ? p.name.substr(self_attn)
                     : p.name.substr(0, p.name.find('.')));
  }
  std::int64_t on = 0;
  for (const NamedParameter& p : model->parameters()) on += p.tensor->requires_grad() ? 1 : 0;
  EXPECT_EQ(on, static_cast<std::int64_t>(select_trainable(model->parameters(), preset).size()));
  return parts;
}

const fs::path kConverted = test::golden_dir() / "original/bf16_high_joint";

TEST(Trainable, Presets) {
  const std::set<std::string> latent{"self_attn.k_r_proj.weight",
                                     "self_attn.kv_proj.down_kv.weight",
                                     "self_attn.kv_proj.up_k.weight",
                                     "self_attn.kv_proj.up_v.weight"};
  std::set<std::string> attention = latent;
  attention.insert({"self_attn.q_proj.weight", "self_attn.o_proj.weight"});
  std::set<std::string> usual = attention;
  usual.insert({"language_model", "multi_modal_projector"});
  std::set<std::string> all = usual;
  all.insert("vision_tower");
  EXPECT_EQ(parts_trained(kConverted, Trainable::Latent), latent);
  EXPECT_EQ(parts_trained(kConverted, Trainable::Attention), attention);
  EXPECT_EQ(parts_trained(kConverted, Trainable::Default), usual);
  EXPECT_EQ(parts_trained(kConverted, Trainable::All), all);
}

TEST(Trainable, LatentNeedsLatents) {
  const auto model = load_vlm(test::golden_dir() / "models/mha");
  try {
    select_trainable(model->parameters(), Trainable::Latent);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
  }
}

TEST(Trainable, DecaySparesBiasesAndNorms) {
  EXPECT_TRUE(has_weight_decay("language_model.model.layers.0.self_attn.q_proj.weight"));
  EXPECT_TRUE(has_weight_decay("language_model.model.embed_tokens.weight"));
  EXPECT_TRUE(has_weight_decay("vision_tower.vision_model.embeddings.class_embedding"));
  EXPECT_FALSE(has_weight_decay("multi_modal_projector.linear_1.bias"));
  EXPECT_FALSE(has_weight_decay("language_model.model.norm.weight"));
  EXPECT_FALSE(has_weight_decay("language_model.model.layers.0.input_layernorm.weight"));
  EXPECT_FALSE(has_weight_decay("vision_tower.vision_model.pre_layrnorm.weight"));
  EXPECT_FALSE(has_weight_decay("vision_tower.vision_model.encoder.layers.0.layer_norm1.weight"));
}

TEST(Trainable, Names) {
  for (const char* name : {"default", "attention", "latent", "all"}) {
    EXPECT_EQ(trainable_name(parse_trainable(name)), name);
  }
  EXPECT_THROW(parse_trainable("lora"), Error);
}

}  // namespace
}  // namespace vmla
