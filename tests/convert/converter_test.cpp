#include "convert/converter.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <ATen/ATen.h>

#include <algorithm>

#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/rank_file.h"
#include "convert/conversion_plan.h"
#include "convert/conversion_support.h"
#include "random_model.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::golden_conversion;
using test::golden_logits;

const fs::path kModels = "tests/golden/models";
const std::string kRanks = "tests/golden/conversion/ranks_mha.pth";

ConversionOptions by_ranks(const fs::path& output) {
  ConversionOptions options = golden_conversion("mha", output);
  options.rope.version = "2-norm";
  options.qk_tensor_path = kRanks;
  return options;
}

struct WholeModel {
  const char* model;
  SvdMethod method;
  std::int64_t low_rank;
  bool repeat;
};

class NothingIsLost : public ::testing::TestWithParam<WholeModel> {};

// All dims keep their rotation and the latent has full rank: the source's logits come back.
TEST_P(NothingIsLost, WithAllOfRopeAndFullRank) {
  const test::TempDir dir;
  ConversionOptions options = golden_conversion(GetParam().model, dir / "out");
  options.rope.rope_dim = 16;
  options.svd_init_method = GetParam().method;
  options.low_rank = GetParam().low_rank;
  options.is_gqa2mha2mla = GetParam().repeat;
  const ConversionReport report = convert_checkpoint(options);
  for (const LayerReport& layer : report.layers) {
    EXPECT_LT(layer.v_error, 1e-6);
    EXPECT_GT(layer.retained_energy, 1.0 - 1e-12);
  }
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  for (const char* prompt : {"one", "two", "text"}) {
    EXPECT_TRUE(close(
        golden_logits(dir / "out", prompt), golden_logits(options.model, prompt, fp32), {5e-5, 0}));
  }
}

INSTANTIATE_TEST_SUITE_P(Models,
                         NothingIsLost,
                         ::testing::Values(WholeModel{"mha", SvdMethod::Joint, 16, false},
                                           WholeModel{"mha", SvdMethod::OnlyValue, 16, false},
                                           WholeModel{"mha", SvdMethod::None, 0, false},
                                           WholeModel{"gqa", SvdMethod::Joint, 16, false},
                                           WholeModel{"gqa", SvdMethod::Joint, 16, true},
                                           WholeModel{"gqa", SvdMethod::None, 8, true},
                                           WholeModel{"qwen2", SvdMethod::Joint, 16, false},
                                           WholeModel{"qwen2", SvdMethod::Joint, 16, true}));

// Where head_dim * heads is not the hidden size.
TEST(Converter, HeadsMayBeWiderThanTheHiddenSize) {
  const test::TempDir dir;
  ConversionOptions options = golden_conversion("mistral", dir / "out");
  options.rope.rope_dim = 32;
  options.low_rank = 32;
  convert_checkpoint(options);
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  EXPECT_TRUE(
      close(golden_logits(dir / "out"), golden_logits(options.model, "one", fp32), {5e-5, 0}));
}

// The original leaves k_r_proj and kv_proj in float32 beside bfloat16.
TEST(Converter, AllTensorsHaveTheOutputDtype) {
  const test::TempDir dir;
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    ConversionOptions options = golden_conversion("mha", dir / "out");
    options.dtype = dtype;
    options.overwrite = true;
    convert_checkpoint(options);
    const Checkpoint out = Checkpoint::open(dir / "out");
    for (const auto& name : out.names()) EXPECT_EQ(out.info(name).dtype, dtype) << name;
    EXPECT_EQ(out.config().at("torch_dtype"), out.config().at("text_config").at("torch_dtype"));
  }
  EXPECT_EQ(ConversionOptions().dtype, at::kBFloat16);
}

TEST(Converter, Bfloat16LogitsAreNearFloat32) {
  const test::TempDir dir;
  convert_checkpoint(golden_conversion("mha", dir / "fp32"));
  ConversionOptions options = golden_conversion("mha", dir / "bf16");
  options.dtype = at::kBFloat16;
  const ConversionReport report = convert_checkpoint(options);
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  const at::Tensor want = golden_logits(dir / "fp32");
  const double error =
      ((golden_logits(dir / "bf16", "one", fp32) - want).norm() / want.norm()).item<double>();
  EXPECT_LT(error, 0.03);
  EXPECT_GT(error, 1e-5);  // the factors are rounded, else they were not written as bfloat16
  EXPECT_EQ(report.kv_bytes_per_token_before, 2 * 4 * 16 * 2 * 2);
}

TEST(Converter, ConfigKeepsAllKeysInTheirOrder) {
  const test::TempDir dir;
  const ConversionOptions options = by_ranks(dir / "out");
  convert_checkpoint(options);
  const Json before = read_json(kModels / "mha/config.json");
  Json after = read_json(dir / "out/config.json");
  const Json mla = after.at("mha2mla"), ours = after.at("vlm_mla");
  std::vector<std::string> keys, want;
  for (const auto& item : before.items()) want.push_back(item.key());
  want.insert(want.end(), {"mha2mla", "vlm_mla"});
  for (const auto& item : after.items()) keys.push_back(item.key());
  EXPECT_EQ(keys, want);
  after.erase("mha2mla");
  after.erase("vlm_mla");
  EXPECT_EQ(after, before);

  EXPECT_EQ(mla.size(), 9U);
  EXPECT_EQ(mla.at("qk_tensor_path"), (dir / "out/rope_ranks.pth").string());
  EXPECT_EQ(mla.at("is_baseline"), false);
  EXPECT_EQ(ours.at("format_version"), 1);
  EXPECT_EQ(ours.at("rope_ranks"), "rope_ranks.pth");
  EXPECT_EQ(ours.at("source"), "mha");
  EXPECT_EQ(ours.at("report").at("kv_bytes_per_token").at("before"), 2 * 4 * 16 * 2 * 4);
  EXPECT_EQ(ours.at("report").at("kv_bytes_per_token").at("after"), 4 * (8 + 4) * 2 * 4);
}

TEST(Converter, ConfigOfTheNewSpelling) {
  const test::TempDir dir;
  ConversionOptions options = golden_conversion("mha_v5", dir / "out");
  options.dtype = at::kHalf;
  convert_checkpoint(options);
  const Json config = read_json(dir / "out/config.json");
  EXPECT_EQ(config.at("dtype"), "float16");
  EXPECT_FALSE(config.contains("torch_dtype"));
}

TEST(Converter, KeepsTheNamingStyle) {
  const test::TempDir dir;
  ConversionOptions options = golden_conversion("mha_current", dir / "out");
  convert_checkpoint(options);
  const auto file = SafetensorsFile::open(dir / "out/model.safetensors");
  EXPECT_TRUE(file->contains("model.language_model.layers.0.self_attn.kv_proj.up_k.weight"));
  EXPECT_TRUE(file->contains("lm_head.weight"));
  options = golden_conversion("mha", dir / "legacy");
  convert_checkpoint(options);
  EXPECT_TRUE(close(golden_logits(dir / "out"), golden_logits(dir / "legacy"), {0, 0}));
}

TEST(Converter, EveryContainerGivesTheSameModel) {
  const test::TempDir dir;
  convert_checkpoint(golden_conversion("mha", dir / "mha"));
  for (const char* model : {"sharded", "torch_bin"}) {
    convert_checkpoint(golden_conversion(model, dir / model));
    EXPECT_EQ(test::slurp(dir.path() / model / "model.safetensors"),
              test::slurp(dir / "mha/model.safetensors"))
        << model;
  }
}

// transformers 5 counts image tokens with num_additional_image_tokens, which the original drops.
TEST(Converter, CarriesTokenizerAndProcessorFilesUnchanged) {
  const test::TempDir dir;
  convert_checkpoint(golden_conversion("mha", dir / "out"));
  const auto before = test::directory_content(kModels / "mha");
  const auto after = test::directory_content(dir / "out");
  for (const auto& [name, content] : before) {
    if (name == "config.json" || name == "model.safetensors") continue;
    ASSERT_TRUE(after.count(name)) << name;
    EXPECT_EQ(after.at(name), content) << name;
  }
  EXPECT_NE(after.at("processor_config.json").find("num_additional_image_tokens"),
            std::string::npos);
  EXPECT_EQ(after.size(), before.size() + 1);  // conversion_report.json
}

TEST(Converter, TiedHeadIsNotWritten) {
  const test::TempDir dir;
  convert_checkpoint(golden_conversion("qwen2", dir / "out"));
  EXPECT_FALSE(Checkpoint::open(dir / "out").contains("language_model.lm_head.weight"));
}

TEST(Converter, EqualConversionsGiveEqualBytes) {
  const test::TempDir dir;
  convert_checkpoint(golden_conversion("gqa", dir / "a"));
  convert_checkpoint(golden_conversion("gqa", dir / "b"));
  EXPECT_EQ(test::directory_content(dir / "a"), test::directory_content(dir / "b"));
}

// What is read and written again by the tensor table is the same file.
TEST(Converter, SaveLoadSaveIsIdentical) {
  const test::TempDir dir;
  convert_checkpoint(by_ranks(dir / "out"));
  const Checkpoint out = Checkpoint::open(dir / "out");
  const Family& family = find_family(out.config(), "config.json");
  auto specs = family.tensor_specs(family.parse_config(out.config(), "config.json"));
  CheckpointWriter writer(dir.path(), specs);
  const auto model = load_vlm(out);
  for (const auto& spec : specs) writer.write(spec.name, out.tensor(spec.name));
  writer.finish();
  EXPECT_EQ(test::slurp(dir / "model.safetensors"), test::slurp(dir / "out/model.safetensors"));
  for (const NamedParameter& parameter : model->parameters())
    EXPECT_TRUE(test::same_bits(*parameter.tensor, out.tensor(parameter.name))) << parameter.name;
}

// The original's rank-based models need a file outside of them; ours go where they are moved.
TEST(Converter, RankBasedModelsCanBeMoved) {
  const test::TempDir dir;
  fs::copy_file(kRanks, dir / "ranks.pth");
  ConversionOptions options = by_ranks(dir / "out");
  options.qk_tensor_path = (dir / "ranks.pth").string();
  convert_checkpoint(options);
  const at::Tensor before = golden_logits(dir / "out");
  fs::remove(dir / "ranks.pth");
  fs::create_directories(dir / "elsewhere");
  fs::rename(dir / "out", dir / "elsewhere/moved");
  EXPECT_TRUE(test::same_bits(golden_logits(dir / "elsewhere/moved"), before));
}

TEST(Converter, RepeatedHeadsHaveRepeatedRanks) {
  const test::TempDir dir;
  ConversionOptions options = golden_conversion("gqa", dir / "out");
  options.rope.version = "2-norm";
  options.qk_tensor_path = "tests/golden/conversion/ranks_gqa.pth";
  options.is_gqa2mha2mla = true;
  convert_checkpoint(options);
  const at::Tensor before = read_rank_file(options.qk_tensor_path);
  const at::Tensor after = read_rank_file(dir / "out/rope_ranks.pth");
  EXPECT_TRUE(test::same_bits(after, before.repeat_interleave(2, 1)));
  EXPECT_EQ(read_json(dir / "out/config.json").at("text_config").at("num_key_value_heads"), 4);
}

TEST(Converter, OverwriteReplacesAModel) {
  const test::TempDir dir;
  ConversionOptions options = golden_conversion("mha", dir / "out");
  convert_checkpoint(options);
  dir.write("out/left_over.txt", "of the old model");
  options.low_rank = 6;
  options.overwrite = true;
  convert_checkpoint(options);
  EXPECT_EQ(read_json(dir / "out/config.json").at("mha2mla").at("low_rank"), 6);
  EXPECT_FALSE(fs::exists(dir / "out/left_over.txt"));
}

TEST(Converter, CancelledItLeavesNothing) {
  const test::TempDir dir;
  fs::create_directories(dir / "outputs");
  const std::atomic<bool> cancel{true};
  ConversionOptions options = golden_conversion("mha", dir / "outputs/out");
  options.cancel = &cancel;
  EXPECT_TRUE(convert_checkpoint(options).cancelled);
  EXPECT_TRUE(fs::is_empty(dir / "outputs"));
}

TEST(Converter, StoresItsReport) {
  const test::TempDir dir;
  const ConversionReport report = convert_checkpoint(golden_conversion("mha", dir / "out"));
  EXPECT_EQ(read_json(dir / "out/conversion_report.json"), report.json(/*with_times=*/false));
  const Json json = report.json(/*with_times=*/true);
  EXPECT_EQ(json.at("layers").size(), 2U);
  EXPECT_GT(json.at("layers")[0].at("v_error").get<double>(), 0.0);
  EXPECT_GT(json.at("seconds").get<double>(), 0.0);
  EXPECT_EQ(json.at("weight_bytes").at("after").get<std::uint64_t>(),
            Checkpoint::open(dir / "out").weight_bytes());
  const std::string text = report.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 2 + 1 + 3);
  EXPECT_NE(text.find("KV cache per token: 1.02 kB -> 384 B (37.5 %)"), std::string::npos) << text;
}

// The shipped rank file on a model of LLaVA-1.5-7B's layers, heads and head dims.
TEST(Converter, RealRankFileOnTheShapesOfA7B) {
  const fs::path ranks = "../shared/data/llava-1.5-7b-mkl-ranks.pth";
  if (!fs::exists(ranks)) GTEST_SKIP() << ranks << " is not there";
  const test::TempDir dir;
  Json config = read_json("tools/llava_1.5_7b_config.json");
  config["text_config"].update(Json{{"hidden_size", 48},
                                    {"head_dim", 128},
                                    {"num_attention_heads", 32},
                                    {"intermediate_size", 16},
                                    {"vocab_size", 32001}});
  config["vision_config"].update(
      Json{{"hidden_size", 32}, {"intermediate_size", 16}, {"num_hidden_layers", 2}});
  config["vision_config"]["num_attention_heads"] = 2;
  write_random_model(dir / "model", config, 1);
  ConversionOptions options;
  options.model = dir / "model";
  options.output_dir = dir / "out";
  options.rope.version = "2-norm";
  options.rope.rope_dim = 32;
  options.qk_tensor_path = ranks.string();
  options.low_rank = 1;
  const ConversionReport report = convert_checkpoint(options);
  EXPECT_EQ(report.kv_bytes_per_token_after, 32 * 32 * (32 + 1) * 2);
  const Checkpoint out = Checkpoint::open(dir / "out");
  const auto dims = load_rope_dims(out, parse_model_config(out.config(), "config.json"), {});
  const at::Tensor shipped = read_rank_file(ranks);
  for (std::int64_t layer = 0; layer < 32; ++layer) {
    const at::Tensor rank_of_kept = shipped[layer].gather(1, dims[static_cast<std::size_t>(layer)]);
    EXPECT_LT(rank_of_kept.max().item<int>(), 16) << layer;
  }
}

}  // namespace
}  // namespace vmla
