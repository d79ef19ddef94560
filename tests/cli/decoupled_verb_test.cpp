// A model with factors by modality through the verbs, as a user runs them.
#include <gtest/gtest.h>

#include "cli/models.h"

namespace vmla::test {
namespace {

std::vector<std::string> convert_arguments(const std::string& output,
                                           const std::vector<std::string>& more) {
  std::vector<std::string> all{"convert",
                               "--model",
                               kMha,
                               "--output_dir",
                               output,
                               "--torch_dtype",
                               "float32",
                               "--device",
                               "cpu",
                               "--rope_dim_for_mla",
                               "8",
                               "--low_rank",
                               "8"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

const std::vector<std::string>& calibration() {
  static const TempDir cache;
  static const std::vector<std::string> flags{"--calibration_data",
                                              "tests/golden/rank/instruct.json",
                                              "--image_root",
                                              "tests/golden/rank/images",
                                              "--calibration_text",
                                              "tests/golden/calibration/text.txt",
                                              "--calibration_text_windows",
                                              "3",
                                              "--calibration_text_tokens",
                                              "12",
                                              "--calibration_cache",
                                              (cache / "cache").string()};
  return flags;
}

std::vector<std::string> with(std::vector<std::string> flags,
                              const std::vector<std::string>& more) {
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

// Converted once for all tests of a process.
const std::string& decoupled_model() {
  static const TempDir dir;
  static const std::string path = [] {
    const std::string to = (dir / "decoupled").string();
    const CommandResult result =
        run_vlm_mla(convert_arguments(to, with(calibration(), {"--modality", "decoupled"})));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return to;
  }();
  return path;
}

TEST(DecoupledVerbs, ConvertNeedsPictures) {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  const CommandResult none = run_vlm_mla(convert_arguments(out, {"--modality", "decoupled"}));
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_NE(none.err.find("modality: expected --calibration_data with images"), std::string::npos)
      << none.err;
  const CommandResult name =
      run_vlm_mla(convert_arguments(out, with(calibration(), {"--modality", "both"})));
  EXPECT_EQ(name.exit_code, 2);
  EXPECT_NE(name.err.find("expected joint or decoupled, got both"), std::string::npos) << name.err;
  const CommandResult svd = run_vlm_mla(convert_arguments(
      out, with(calibration(), {"--modality", "decoupled", "--factorization", "svd"})));
  EXPECT_EQ(svd.exit_code, 2);
  EXPECT_NE(svd.err.find("--factorization whitened"), std::string::npos) << svd.err;
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(DecoupledVerbs, InspectNamesTheLayout) {
  const CommandResult text = run_vlm_mla({"inspect", decoupled_model()});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("svd joint, decoupled by modality"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("k_rope+latent+modality, R 8 a head, C 32"), std::string::npos)
      << text.out;
  const Json json = parse_json(run_vlm_mla({"inspect", decoupled_model(), "--json"}).out, "stdout");
  EXPECT_EQ(json["modality"], "decoupled");
  EXPECT_EQ(json["kv_elements_per_token"], 2 * (4 * (8 + 8) + 1));
  EXPECT_EQ(json["kv_bytes_per_token"], 2 * (4 * 4 * (8 + 8) + 1));
  EXPECT_EQ(json["problems"].size(), 0U);
}

TEST(DecoupledVerbs, GeneratesTheSameFromEitherCache) {
  const std::vector<std::string> ask{"--model",
                                     decoupled_model(),
                                     "--image",
                                     kStripes,
                                     "--prompt",
                                     "What is the cat doing?",
                                     "--max_new_tokens",
                                     "12"};
  const Json native = generate_json(ask);
  const auto tokens =
      native["prompt_tokens"].get<std::int64_t>() + native["output_tokens"].get<std::int64_t>() - 1;
  EXPECT_EQ(native["kv_cache_bytes"], tokens * 2 * (4 * 4 * (8 + 8) + 1));
  EXPECT_EQ(native["kv_cache_dtype"], "fp32");
  const Json expanded = generate_json(with(ask, {"--no_mla_cache"}));
  EXPECT_EQ(native["output_ids"], expanded["output_ids"]);
  EXPECT_EQ(expanded["kv_cache_bytes"], tokens * 2 * 4 * (2 * 4 * 16));
  const Json chunked = generate_json(with(ask, {"--prefill_chunk", "3"}));
  EXPECT_EQ(native["output_ids"], chunked["output_ids"]);
  const Json int8 = generate_json(with(ask, {"--kv_cache_dtype", "int8"}));
  EXPECT_EQ(int8["kv_cache_bytes"], tokens * 2 * ((4 * 8 + 4 * 2) + (32 + 2) + 1));
  EXPECT_EQ(int8["kv_cache_dtype"], "int8");
}

TEST(DecoupledVerbs, BenchCountsTheFlag) {
  const CommandResult result = run_vlm_mla({"bench",
                                            "--mla_model",
                                            decoupled_model(),
                                            "--device",
                                            "cpu",
                                            "--dtype",
                                            "float32",
                                            "--max_new_tokens",
                                            "4",
                                            "--num_runs",
                                            "1",
                                            "--prompt_tokens",
                                            "9",
                                            "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json row = parse_json(result.out, "stdout")["results"][0];
  EXPECT_EQ(row["kv_bytes_per_token"], 2 * (4 * 4 * (8 + 8) + 1));
  EXPECT_EQ(row["kv_cache_bytes"], (9 + 3) * 2 * (4 * 4 * (8 + 8) + 1));
}

}  // namespace
}  // namespace vmla::test
