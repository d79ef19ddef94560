// Factors by modality as a checkpoint: config, tensors, damage.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint_writer.h"
#include "model/load.h"
#include "model/mla_config.h"
#include "model/tensor_table.h"
#include "random_model.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;

Json decoupled_config(const std::string& model) {
  Json config = read_json(test::golden_dir() / "models" / model / "config.json");
  MlaConfig mla;
  mla.rope.rope_dim = 8;
  mla.low_rank = 3;
  config["mha2mla"] = mha2mla_json(mla);
  config["vlm_mla"] = {{"format_version", kVlmMlaFormatVersion}, {"modality", "decoupled"}};
  return config;
}

ModelConfig parsed(const Json& config) {
  return parse_model_config(config, "config.json");
}

TEST(DecoupledLayout, ConfigSaysIt) {
  Json json = decoupled_config("mha");
  EXPECT_TRUE(parsed(json).mla->decoupled);
  EXPECT_TRUE(parsed(json).mla->layer_shape(parsed(json).text.attention_shape(), 1).decoupled);
  EXPECT_EQ(json.at("mha2mla").size(), 9U);  // what the Python original reads is as ever
  json["vlm_mla"]["modality"] = "joint";
  EXPECT_FALSE(parsed(json).mla->decoupled);
  json["vlm_mla"].erase("modality");
  EXPECT_FALSE(parsed(json).mla->decoupled);
}

TEST(DecoupledLayout, ConfigsThatDoNotFitAreRefused) {
  const auto refused = [](ErrorKind kind, const std::string& text, auto change) {
    Json config = decoupled_config("mha");
    change(config);
    return fails_with(kind, {"config.json: vlm_mla: modality", text}, [&] { parsed(config); });
  };
  EXPECT_TRUE(refused(ErrorKind::Unsupported, "joint or decoupled, got both", [](Json& j) {
    j["vlm_mla"]["modality"] = "both";
  }));
  EXPECT_TRUE(refused(ErrorKind::Config, "svd_init_method joint", [](Json& j) {
    j["mha2mla"]["svd_init_method"] = "split";
  }));
  EXPECT_TRUE(refused(ErrorKind::Unsupported, "rope_layout shared", [](Json& j) {
    set_shared_layers(j["vlm_mla"], {{{0}, 8}, {{0}, 8}});
  }));
  EXPECT_TRUE(refused(ErrorKind::Config, "", [](Json& j) { j["vlm_mla"]["modality"] = 2; }));
}

TEST(DecoupledLayout, TensorsAreThoseOfTheirCheckpoints) {
  MlaShape shape;
  shape.attention = {64, 4, 2, 16, true, false};
  shape.rope_dim = 6;
  shape.latent_dim = 10;
  shape.decoupled = true;
  std::vector<std::string> got;
  for (const TensorSpec& spec : mla_tensor_specs(shape, "")) {
    if (spec.name.ends_with(".weight"))
      got.push_back(fmt::format("{} [{}]", spec.name, fmt::join(spec.shape, ", ")));
  }
  EXPECT_EQ(got,
            (std::vector<std::string>{"q_proj.weight [64, 64]",
                                      "k_r_proj.weight [12, 64]",
                                      "kv_proj_img.down_kv.weight [10, 64]",
                                      "kv_proj_img.up_k.weight [20, 10]",
                                      "kv_proj_img.up_v.weight [32, 10]",
                                      "kv_proj_text.down_kv.weight [10, 64]",
                                      "kv_proj_text.up_k.weight [20, 10]",
                                      "kv_proj_text.up_v.weight [32, 10]",
                                      "o_proj.weight [64, 64]"}));
  EXPECT_EQ(mla_tensor_specs(shape, "").size(), got.size() + 2 + 4);  // biases: q, k_r, 2 (K, V)
}

class DecoupledLayoutModel : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    write_random_model(dir_ / "model", decoupled_config(GetParam()), 3, at::kFloat);
  }
  // The model without a tensor, or with another one in its place.
  void damage(const std::string& name, const at::Tensor& replacement) const {
    const Checkpoint source = Checkpoint::open(dir_ / "model");
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const std::string& each : source.names()) {
      const bool other = each == name;
      if (!other || replacement.defined())
        tensors.emplace_back(source.stored_as(each), other ? replacement : source.tensor(each));
    }
    fs::create_directories(dir_ / "damaged");
    fs::copy_file(dir_ / "model/config.json",
                  dir_ / "damaged/config.json",
                  fs::copy_options::overwrite_existing);
    write_safetensors(dir_ / "damaged/model.safetensors", tensors);
  }
  test::TempDir dir_;
};

TEST_P(DecoupledLayoutModel, LoadsAndSavesTheSameBytes) {
  const Checkpoint checkpoint = Checkpoint::open(dir_ / "model");
  const auto model = load_vlm(checkpoint);
  std::vector<TensorSpec> specs;
  for (const std::string& name : checkpoint.names()) {
    TensorSpec spec{checkpoint.stored_as(name), checkpoint.info(name).shape};
    spec.dtype = at::kFloat;
    specs.push_back(std::move(spec));
  }
  const auto save = [&](Vlm& from, const fs::path& to) {
    fs::create_directories(to);
    CheckpointWriter writer(to, specs);
    for (const NamedParameter& p : from.parameters())
      writer.write(checkpoint.stored_as(p.name), *p.tensor);
    for (const std::string& name : checkpoint.names()) {  // what the model does not run
      bool held = false;
      for (const NamedParameter& p : from.parameters()) held = held || p.name == name;
      if (!held) writer.write(checkpoint.stored_as(name), checkpoint.tensor(name));
    }
    writer.finish();
    fs::copy_file(dir_ / "model/config.json", to / "config.json");
  };
  save(*model, dir_ / "once");
  save(*load_vlm(dir_ / "once"), dir_ / "twice");
  EXPECT_EQ(test::slurp(dir_ / "once/model.safetensors"),
            test::slurp(dir_ / "twice/model.safetensors"));
  const Checkpoint again = Checkpoint::open(dir_ / "twice");
  for (const std::string& name : checkpoint.names())
    EXPECT_TRUE(test::same_bits(again.tensor(name), checkpoint.tensor(name))) << name;
}

TEST_P(DecoupledLayoutModel, WhatIsMissingOrMisshapenIsNamed) {
  const std::string name = "language_model.model.layers.1.self_attn.kv_proj_img.up_v.weight";
  damage(name, {});
  EXPECT_TRUE(
      fails_with(ErrorKind::Checkpoint, {name, "missing"}, [&] { load_vlm(dir_ / "damaged"); }));
  damage(name, at::zeros({3, 5}));
  EXPECT_TRUE(
      fails_with(ErrorKind::Checkpoint, {name, "got [3, 5]"}, [&] { load_vlm(dir_ / "damaged"); }));
  // A joint model's config over these tensors, and the other way round.
  Json joint = decoupled_config(GetParam());
  joint["vlm_mla"].erase("modality");
  write_random_model(dir_ / "joint", joint, 3, at::kFloat);
  write_json(dir_ / "joint/config.json", decoupled_config(GetParam()));
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {"kv_proj_text.down_kv.weight: "}, [&] { load_vlm(dir_ / "joint"); }));
  write_json(dir_ / "model/config.json", joint);
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint,
                         {"layers.0.self_attn.kv_proj.down_kv.weight: expected"},
                         [&] { load_vlm(dir_ / "model"); }));
}

INSTANTIATE_TEST_SUITE_P(Models, DecoupledLayoutModel, ::testing::Values("mha", "gqa", "qwen2"));

}  // namespace
}  // namespace vmla
