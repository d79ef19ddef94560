#include <gtest/gtest.h>

#include "base/files.h"
#include "cli/models.h"

namespace vmla::test {
namespace {

Json inspect(const std::string& dir) {
  const CommandResult result = run_vlm_mla({"inspect", dir, "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return parse_json(result.out, "stdout");
}

// Numbers of tests/golden/README.md: E 64, V 512, L 2, H 4, D 16, intermediate 96; vision 32,
// 48, 3.
TEST(Inspect, AnUnconvertedModel) {
  const Json json = inspect(kMha);
  EXPECT_EQ(json["family"], "LlavaForConditionalGeneration");
  EXPECT_EQ(json["attention"], "mha");
  const std::int64_t text = 2 * 512 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 96 + 2 * 64) + 64;
  const std::int64_t projector = 64 * 32 + 64 + 64 * 64 + 64;
  const std::int64_t vision_layer =
      4 * (32 * 32 + 32) + 2 * 2 * 32 + (48 * 32 + 48) + (32 * 48 + 32);
  const std::int64_t vision = 32 + 3 * 14 * 14 * 32 + 5 * 32 + 2 * 2 * 32 + 3 * vision_layer;
  EXPECT_EQ(json["parameters"], text + projector + vision);
  EXPECT_EQ(json["parts"][0]["parameters"], vision);
  EXPECT_EQ(json["parts"][1]["parameters"], projector);
  EXPECT_EQ(json["parts"][2]["parameters"], text);
  EXPECT_EQ(json["weight_bytes"], 4 * (text + projector + vision));
  ASSERT_EQ(json["layers"].size(), 2U);
  EXPECT_EQ(json["layers"][1]["layout"], "k+v");
  EXPECT_EQ(json["layers"][1]["rope_dims"], 16);
  EXPECT_EQ(json["layers"][1]["latent_dims"], 0);
  EXPECT_EQ(json["kv_elements_per_token"], 2 * 2 * 4 * 16);
  EXPECT_EQ(json["kv_bytes_per_token"], 2 * 2 * 4 * 16 * 4);
  EXPECT_EQ(json["problems"], Json::array());
}

TEST(Inspect, AConvertedModel) {
  const Json json = inspect(converted_model());
  EXPECT_EQ(json["attention"], "mla");
  EXPECT_EQ(json["rope_selection"], "high");
  EXPECT_EQ(json["svd_method"], "joint");
  EXPECT_EQ(json["layers"][0]["layout"], "k_rope+latent");
  EXPECT_EQ(json["layers"][0]["rope_dims"], 8);
  EXPECT_EQ(json["layers"][0]["latent_dims"], 4 * 4);
  EXPECT_EQ(json["kv_elements_per_token"], 2 * 4 * (8 + 4));
  EXPECT_EQ(json["problems"], Json::array());
}

TEST(Inspect, ASharedRopeKeyHasWidthsByLayer) {
  const TempDir dir;
  fs::copy(kMha, dir / "model", fs::copy_options::recursive);
  Json config = read_json(dir / "model/config.json");
  config["vlm_mla"] = Json::parse(R"({"format_version": 1, "rope_layout": "shared", "layers": [
    {"rope_frequencies": [0, 5, 5], "latent_dims": 12},
    {"rope_frequencies": [7], "latent_dims": 20}]})");
  write_json(dir / "model/config.json", config);
  const Json json = inspect((dir / "model").string());
  EXPECT_EQ(json["attention"], "mla");
  EXPECT_EQ(json["rope_selection"], "shared");
  EXPECT_EQ(json["layers"][0]["layout"], "k_rope+latent");
  EXPECT_EQ(json["layers"][0]["rope_dims"], 6);
  EXPECT_EQ(json["layers"][1]["rope_dims"], 2);
  EXPECT_EQ(json["layers"][1]["latent_dims"], 20);
  EXPECT_EQ(json["kv_elements_per_token"], 6 + 12 + 2 + 20);
  EXPECT_FALSE(json["problems"].empty()) << "the weights are still those of the source";
}

TEST(Inspect, GroupedQueriesBiasesAndTiedHeads) {
  const Json gqa = inspect("tests/golden/models/gqa");
  EXPECT_EQ(gqa["attention"], "gqa");
  EXPECT_EQ(gqa["kv_bytes_per_token"], 2 * 2 * 2 * 16 * 2);
  const Json qwen = inspect("tests/golden/models/qwen2");
  EXPECT_EQ(qwen["text_model"], "qwen2");
  EXPECT_EQ(qwen["weight_bytes"], qwen["parameters"].get<std::int64_t>() * 2);
}

TEST(Inspect, EveryContainerAndNamingTellsTheSame) {
  const Json single = inspect("tests/golden/models/mha_v5");
  for (const char* other : {"mha_current", "sharded", "torch_bin"}) {
    const Json json = inspect(std::string("tests/golden/models/") + other);
    for (const char* key : {"parameters", "weight_bytes", "parts", "layers", "kv_bytes_per_token"})
      EXPECT_EQ(json[key], single[key]) << other << " " << key;
  }
}

TEST(Inspect, ProblemsAreListedAndTheExitCodeStaysZero) {
  const TempDir dir;
  fs::copy(kMha, dir / "model", fs::copy_options::recursive);
  Json config = read_json(dir / "model/config.json");
  config["text_config"]["num_hidden_layers"] = 3;
  config["mha2mla"] = Json::parse(R"({"partial_rope_version": "2-norm", "rope_dim_for_mla": 8,
    "qk_tensor_path": "gone.pth", "svd_init_method": "joint", "low_rank": 4})");
  write_json(dir / "model/config.json", config);
  fs::remove(dir / "model/preprocessor_config.json");
  fs::remove(dir / "model/processor_config.json");
  const Json json = inspect((dir / "model").string());
  std::string all;
  for (const auto& problem : json["problems"]) all += problem.get<std::string>() + "\n";
  for (const char* words : {"layers.2.mlp.gate_proj.weight: expected [96, 64], missing",
                            "layers.0.self_attn.k_proj.weight: unexpected",
                            "gone.pth is gone",
                            "image processor: expected"}) {
    EXPECT_NE(all.find(words), std::string::npos) << words << " in " << all;
  }
  const CommandResult text = run_vlm_mla({"inspect", (dir / "model").string()});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_NE(text.out.find("more (--json lists all)"), std::string::npos) << text.out;
}

// Its rank file is read and checked; a damaged one is a problem.
TEST(Inspect, AModelWithARankFile) {
  const TempDir dir;
  const std::string model = (dir / "mla").string();
  const CommandResult converted = run_vlm_mla({"convert",
                                               "--model",
                                               kMha,
                                               "--output_dir",
                                               model,
                                               "--partial_rope_version",
                                               "2-norm",
                                               "--rope_dim_for_mla",
                                               "8",
                                               "--qk_tensor_path",
                                               "tests/golden/conversion/ranks_mha.pth",
                                               "--low_rank",
                                               "4",
                                               "--device",
                                               "cpu"});
  ASSERT_EQ(converted.exit_code, 0) << converted.err;
  const Json json = inspect(model);
  EXPECT_EQ(json["rope_selection"], "2-norm");
  EXPECT_EQ(json["problems"], Json::array());
  std::string ranks = slurp(dir / "mla/rope_ranks.pth");
  dir.write("mla/rope_ranks.pth", ranks.substr(0, ranks.size() / 2));
  const Json damaged = inspect(model);
  ASSERT_EQ(damaged["problems"].size(), 1U) << damaged;
  EXPECT_NE(damaged["problems"][0].get<std::string>().find("rope_ranks.pth"), std::string::npos);
}

}  // namespace
}  // namespace vmla::test
