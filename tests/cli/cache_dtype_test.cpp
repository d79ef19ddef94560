// --kv_cache_dtype and --rope_cache_dtype as users meet them.
#include <gtest/gtest.h>

#include "base/files.h"
#include "cli/models.h"

namespace vmla::test {
namespace {

std::vector<std::string> with(std::vector<std::string> arguments,
                              const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

struct Stored {
  std::vector<std::string> flags;
  std::string dtype;
  std::int64_t bytes_per_token;
};

// The golden model: 2 layers, k_rope [4, 8] and latent [16], or k and v [4, 16].
const std::vector<Stored>& latent_caches() {
  static const std::vector<Stored> all{
      {{}, "fp32", 2 * 4 * (32 + 16)},
      {{"--kv_cache_dtype", "auto"}, "fp32", 2 * 4 * (32 + 16)},
      {{"--kv_cache_dtype", "bf16"}, "bf16", 2 * 2 * (32 + 16)},
      {{"--kv_cache_dtype", "fp16"}, "fp16", 2 * 2 * (32 + 16)},
      {{"--kv_cache_dtype", "fp8"}, "fp8", 2 * (32 + 2 * 4 + 16 + 2)},
      {{"--kv_cache_dtype", "int8"}, "int8", 2 * (32 + 2 * 4 + 16 + 2)},
      {{"--kv_cache_dtype", "int4"}, "int4", 2 * (16 + 2 + 8 + 2)},
      {{"--kv_cache_dtype", "int4", "--rope_cache_dtype", "int8"},
       "k_rope int8 + latent int4",
       2 * (32 + 2 * 4 + 8 + 2)},
      {{"--kv_cache_dtype", "int8", "--rope_cache_dtype", "bf16"},
       "k_rope bf16 + latent int8",
       2 * (2 * 32 + 16 + 2)},
      {{"--kv_cache_dtype", "int8", "--no_mla_cache"}, "int8", 2 * 2 * (64 + 2 * 4)}};
  return all;
}

TEST(CacheDtype, GenerateSaysWhatItStoredAndHowManyBytes) {
  for (const Stored& stored : latent_caches()) {
    const Json json = generate_json(with({"--model",
                                          converted_model(),
                                          "--image",
                                          kStripes,
                                          "--prompt",
                                          "Which?",
                                          "--max_new_tokens",
                                          "4",
                                          "--ignore_eos"},
                                         stored.flags));
    EXPECT_EQ(json["kv_cache_dtype"], stored.dtype);
    const std::int64_t cached = json["prompt_tokens"].get<std::int64_t>() + 3;
    EXPECT_EQ(json["kv_cache_bytes"], cached * stored.bytes_per_token) << stored.dtype;
  }
}

TEST(CacheDtype, BenchPrintsItForBothModels) {
  const std::vector<std::string> arguments{"bench",
                                           "--baseline_model",
                                           kMha,
                                           "--mla_model",
                                           converted_model(),
                                           "--prompt_tokens",
                                           "5",
                                           "--max_new_tokens",
                                           "2",
                                           "--num_runs",
                                           "1",
                                           "--device",
                                           "cpu",
                                           "--kv_cache_dtype",
                                           "int4",
                                           "--rope_cache_dtype",
                                           "int8"};
  const CommandResult table = run_vlm_mla(arguments);
  EXPECT_EQ(table.exit_code, 0) << table.err;
  for (const char* line :
       {"KV cache dtype              | int4          | k_rope int8 + latent int4 | -\n",
        "KV cache (bytes a token)    | 144           | 100           | -30.6%\n"}) {
    EXPECT_NE(table.out.find(line), std::string::npos) << line << "in\n" << table.out;
  }
  const Json json = parse_json(run_vlm_mla(with(arguments, {"--json"})).out, "stdout");
  EXPECT_EQ(json["results"][0]["kv_cache_dtype"], "int4");
  EXPECT_EQ(json["results"][1]["kv_cache_dtype"], "k_rope int8 + latent int4");
  EXPECT_EQ(json["results"][1]["kv_cache_bytes"], 6 * 100);
}

TEST(CacheDtype, UnknownNamesEndBeforeAModelIsLoaded) {
  for (const auto& [flag, verb] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"--kv_cache_dtype", {"generate", "--model", "/nowhere", "--prompt", "x"}},
           {"--rope_cache_dtype", {"generate", "--model", "/nowhere", "--prompt", "x"}},
           {"--kv_cache_dtype", {"bench", "--mla_model", "/nowhere", "--prompt_tokens", "5"}}}) {
    const CommandResult result = run_vlm_mla(with(verb, {flag, "int3"}));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find(flag + ": expected auto, bf16, fp16, fp32, fp8, int8 or int4, got"),
              std::string::npos)
        << result.err;
  }
}

// The model that ships here and half its cache after conversion, on new questions.
class Answers : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    for (const auto& arguments : std::vector<std::vector<std::string>>{{"make_data",
                                                                        "--output_dir",
                                                                        data(),
                                                                        "--train",
                                                                        "1",
                                                                        "--val",
                                                                        "15",
                                                                        "--seed",
                                                                        "11",
                                                                        "--threads",
                                                                        "1"},
                                                                       {"convert",
                                                                        "--model",
                                                                        kTrained,
                                                                        "--output_dir",
                                                                        converted(),
                                                                        "--partial_rope_version",
                                                                        "high",
                                                                        "--rope_dim_for_mla",
                                                                        "32",
                                                                        "--low_rank",
                                                                        "32",
                                                                        "--device",
                                                                        "cpu"}}) {
      const CommandResult result = run_vlm_mla(arguments);
      ASSERT_EQ(result.exit_code, 0) << result.err;
    }
  }
  static void TearDownTestSuite() {
    delete dir_;
    dir_ = nullptr;
  }
  static std::string data() { return (*dir_ / "data").string(); }
  static std::string converted() { return (*dir_ / "mla").string(); }

  // How the answers from such a cache agree with those from a plain one.
  static Json agreement(const std::string& model, const std::vector<std::string>& flags) {
    static int count = 0;
    const CommandResult result =
        run_vlm_mla(with({"eval",
                          "--benchmark",
                          "agreement",
                          "--model_path",
                          model,
                          "--reference_model",
                          model,
                          "--questions",
                          data() + "/v2_OpenEnded_mscoco_val2014_questions.json",
                          "--image_root",
                          data() + "/images/val2014",
                          "--output_dir",
                          (*dir_ / ("run" + std::to_string(count++))).string(),
                          "--device",
                          "cpu",
                          "--dtype",
                          "float32",
                          "--batch_size",
                          "16",
                          "--no_model_hash",
                          "--threads",
                          "1",
                          "--json"},
                         flags));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const Json json = parse_json(result.out, "stdout");
    EXPECT_EQ(json["counts"]["scored"], 30);
    return json["metrics"];
  }

  static const std::string kTrained;
  static TempDir* dir_;
};
const std::string Answers::kTrained = "models/tiny-llava-shapes";
TempDir* Answers::dir_ = nullptr;

double kl(const Json& metrics) {
  return metrics["kl"]["mean"].get<double>();
}

TEST_F(Answers, OfQuantisedCachesAgree) {
  for (const std::string& model : {converted(), kTrained}) {
    const Json int8 = agreement(model, {"--kv_cache_dtype", "int8"});
    const Json fp8 = agreement(model, {"--kv_cache_dtype", "fp8"});
    const Json int4 = agreement(model, {"--kv_cache_dtype", "int4"});
    EXPECT_EQ(int8["answer_agreement"], 100.0);
    EXPECT_EQ(fp8["answer_agreement"], 100.0);
    EXPECT_GE(int4["answer_agreement"], 96.0);  // 29 of 30
    // None is without effect.
    EXPECT_GT(kl(int8), 1e-8);
    EXPECT_GT(kl(fp8), kl(int8));
    EXPECT_GT(kl(int4), kl(int8));
    EXPECT_LT(kl(int8), 1e-4);
    EXPECT_LT(kl(fp8), 1e-3);
    EXPECT_LT(kl(int4), 2e-2);
  }
}

TEST_F(Answers, RotaryKeysHaveATypeOfTheirOwn) {
  const double rope_only =
      kl(agreement(converted(), {"--kv_cache_dtype", "fp32", "--rope_cache_dtype", "int4"}));
  const double latent_only =
      kl(agreement(converted(), {"--kv_cache_dtype", "int4", "--rope_cache_dtype", "fp32"}));
  EXPECT_GT(rope_only, 1e-7);
  EXPECT_GT(latent_only, 1e-7);
  EXPECT_NE(latent_only, rope_only);
}

}  // namespace
}  // namespace vmla::test
