// The verbs rank and convert as a user runs them.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/models.h"

namespace vmla::test {
namespace {

const std::string kRankData = "tests/golden/rank";
const std::string kRanks = "tests/golden/conversion/ranks_mha.pth";

std::vector<std::string> rank_arguments(const std::string& verb, const std::string& output) {
  return {verb,
          "--model",
          kMha,
          "--output_path",
          output,
          "--dataset",
          kRankData + "/instruct.json",
          "--image_root",
          kRankData + "/images",
          "--device",
          "cpu",
          "--dtype",
          "float32"};
}

std::vector<std::string> convert_arguments(const std::string& output,
                                           const std::vector<std::string>& more = {}) {
  std::vector<std::string> all{
      "convert", "--model", kMha, "--output_dir", output, "--device", "cpu"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(RankVerb, IsAlsoCalledGenerate2norm) {
  const TempDir dir;
  for (const std::string verb : {"rank", "generate_2norm"}) {
    const std::string file = (dir.path() / verb / "ranks.pth").string();
    const CommandResult result = run_vlm_mla(rank_arguments(verb, file));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(slurp(file), slurp(dir / "rank/ranks.pth"));
    EXPECT_NE(result.out.find("6 samples used, 1 without image or question, 1 broken"),
              std::string::npos)
        << result.out;
    EXPECT_NE(result.out.find(file + " [2, 4, 16]"), std::string::npos) << result.out;
    EXPECT_NE(result.err.find("sample 000005 is not used"), std::string::npos) << result.err;
  }
}

TEST(RankVerb, ByDivergence) {
  const TempDir dir;
  auto arguments = rank_arguments("rank", (dir / "kl.pth").string());
  arguments.insert(arguments.end(), {"--method", "kl", "--image_weight", "0.5"});
  const CommandResult result = run_vlm_mla(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("7 samples used"), std::string::npos) << result.out;
  const CommandResult norm = run_vlm_mla(rank_arguments("rank", (dir / "norm.pth").string()));
  ASSERT_EQ(norm.exit_code, 0) << norm.err;
  EXPECT_NE(slurp(dir / "kl.pth"), slurp(dir / "norm.pth"));
  arguments.back() = "0.9";
  arguments.insert(arguments.end(), {"--method", "L2"});
  EXPECT_NE(run_vlm_mla(arguments).err.find("method: expected 2norm or kl, got L2"),
            std::string::npos);
}

std::vector<std::string> calibration_arguments(const TempDir& dir) {
  return {"--calibration_data",
          kRankData + "/instruct.json",
          "--image_root",
          kRankData + "/images",
          "--calibration_cache",
          (dir / "cache").string()};
}

TEST(ConvertVerb, ARecipeAndABudgetAreEnough) {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  const std::vector<std::string> data = calibration_arguments(dir);
  auto arguments = convert_arguments(out, {"--recipe", "care", "--kv_budget", "50%", "--json"});
  arguments.insert(arguments.end(), data.begin(), data.end());
  arguments.insert(arguments.end(),
                   {"--report_data", kRankData + "/instruct.json", "--damping", "0.2"});
  const CommandResult result = run_vlm_mla(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = parse_json(result.out, "stdout");
  EXPECT_GT(json.at("next_token").at("answers").at("kl").get<double>(), 0.0);
  const Json bytes = json.at("kv_bytes_per_token");
  EXPECT_LE(2 * bytes.at("after").get<int>(), bytes.at("before").get<int>());
  const Json ours = read_json(dir / "out/config.json").at("vlm_mla");
  EXPECT_EQ(ours.at("recipe"), "care");
  EXPECT_EQ(ours.at("damping"), 0.2);
  EXPECT_EQ(ours.at("layers").size(), 2U);
  const CommandResult inspected = run_vlm_mla({"inspect", out, "--json"});
  EXPECT_EQ(parse_json(inspected.out, "stdout").at("layers")[0].at("latent_dims"),
            ours.at("layers")[0].at("latent_dims"));
  const CommandResult unknown = run_vlm_mla(convert_arguments(out + "2", {"--recipe", "cure"}));
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_NE(unknown.err.find("recipe: expected original"), std::string::npos) << unknown.err;
  EXPECT_FALSE(fs::exists(out + "2"));
}

TEST(ConvertVerb, Distills) {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  const std::vector<std::string> data = calibration_arguments(dir);
  const auto convert = [&](const std::vector<std::string>& more, bool with_data = true) {
    auto arguments = convert_arguments(out, more);
    if (with_data) arguments.insert(arguments.end(), data.begin(), data.end());
    return run_vlm_mla(arguments);
  };
  const CommandResult result = convert({"--recipe",
                                        "best",
                                        "--kv_budget",
                                        "12.5%",
                                        "--fit_steps",
                                        "0",
                                        "--distill_steps",
                                        "20",
                                        "--distill-batch-size",
                                        "4",
                                        "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json told = parse_json(result.out, "stdout").at("distillation");
  EXPECT_EQ(told.at("steps"), 20);
  EXPECT_EQ(told.at("learning_rate"), 0.001);
  EXPECT_EQ(told.at("held_out_kl").at("answers").at("samples"), 2);
  const Json trained = told.at("trained_kl").at("answers");
  EXPECT_LT(trained.at("after").get<double>(), trained.at("before").get<double>());
  fs::remove_all(out);
  for (const auto& [more, text] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--distill_steps", "-1"}, "distill_steps: expected 0 or more, got -1"},
           {{"--distill_steps", "5", "--distill_learning_rate", "0"}, "distill_learning_rate"},
           {{"--distill_steps", "5", "--distill_learning_rate", "nan"}, "distill_learning_rate"},
           {{"--distill_steps", "5", "--distill_batch_size", "0"}, "distill_batch_size"},
           {{"--distill_steps", "many"}, "--distill_steps"},
           {{"--distill_learning_rate", "0.1"}, "expected --distill_steps beside it"}}) {
    const CommandResult refused = convert(more);
    EXPECT_EQ(refused.exit_code, 2) << more[0] << ": " << refused.err;
    EXPECT_NE(refused.err.find(text), std::string::npos) << refused.err;
    EXPECT_FALSE(fs::exists(out));
  }
  for (const std::string recipe : {"original", "best"}) {
    const CommandResult refused = convert({"--recipe", recipe, "--distill_steps", "5"}, false);
    EXPECT_EQ(refused.exit_code, 2) << refused.err;
    EXPECT_NE(refused.err.find("expected --calibration_data"), std::string::npos) << refused.err;
  }
}

TEST(ConvertVerb, TransMla) {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  const auto convert = [&](const std::vector<std::string>& more) {
    auto arguments = convert_arguments(out,
                                       {"--recipe",
                                        "transmla",
                                        "--kv_budget",
                                        "25%",
                                        "--calibration_data",
                                        kRankData + "/instruct.json",
                                        "--image_root",
                                        kRankData + "/images"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_vlm_mla(arguments);
  };
  ASSERT_EQ(convert({}).exit_code, 0);
  const Json plain = read_json(dir / "out/conversion_report.json");
  EXPECT_EQ(plain.at("recipe").at("name"), "transmla");
  EXPECT_EQ(plain.at("recipe").at("fit_steps"), 0);
  EXPECT_EQ(plain.at("recipe").at("sequential"), false);
  // Steps of ours may be added.
  ASSERT_EQ(
      convert({"--rope_dim_for_mla", "4", "--refit_output", "--fit_steps", "3", "--overwrite"})
          .exit_code,
      0);
  const Json fitted = read_json(dir / "out/conversion_report.json");
  EXPECT_EQ(fitted.at("layers")[0].at("rope_dims"), 4);
  EXPECT_LT(fitted.at("layers")[0].at("fitted_error"), fitted.at("layers")[0].at("output_error"));
  fs::remove_all(out);
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"--rope_layout", "per_head"},
        {"--split_gamma", "1"},
        {"--rank_allocation", "curves"},
        {"--low_rank", "4"},
        {"--rope_dim_for_mla", "6"}}) {
    const CommandResult refused = convert(more);
    EXPECT_EQ(refused.exit_code, 2) << more[0];
    EXPECT_NE(refused.err.find("transmla"), std::string::npos) << refused.err;
    EXPECT_FALSE(fs::exists(out)) << more[0];
  }
}

TEST(RankVerb, Json) {
  const TempDir dir;
  auto arguments = rank_arguments("rank", (dir / "ranks.pth").string());
  arguments.insert(arguments.end(), {"--batch-size", "4", "--json"});
  const CommandResult result = run_vlm_mla(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = parse_json(result.out, "stdout");
  EXPECT_EQ(json.at("samples").at("used"), 6);
  EXPECT_EQ(json.at("broken")[0].at("id"), "000005");
  EXPECT_EQ(json.at("output_path"), (dir / "ranks.pth").string());
}

TEST(RankVerb, ErrorsHaveTheirExitCodes) {
  const TempDir dir;
  const std::string file = (dir / "ranks.pth").string();
  auto arguments = rank_arguments("rank", file);
  arguments.insert(arguments.end(), {"--dataset", (dir / "none.json").string()});
  EXPECT_EQ(run_vlm_mla(arguments).exit_code, 3);
  arguments = rank_arguments("rank", file);
  arguments.insert(arguments.end(), {"--model", converted_model()});
  const CommandResult converted = run_vlm_mla(arguments);
  EXPECT_EQ(converted.exit_code, 6);
  EXPECT_NE(converted.err.find("has latent attention already"), std::string::npos) << converted.err;
  EXPECT_FALSE(fs::exists(file));
}

TEST(ConvertVerb, ReportsAndStoresTheReport) {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  const CommandResult result = run_vlm_mla(convert_arguments(out,
                                                             {"--partial_rope_version",
                                                              "2-norm",
                                                              "--rope_dim_for_mla",
                                                              "8",
                                                              "--qk_tensor_path",
                                                              kRanks,
                                                              "--low_rank",
                                                              "4",
                                                              "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  Json json = parse_json(result.out, "stdout");
  EXPECT_EQ(json.at("output_dir"), out);
  EXPECT_EQ(json.at("dtype"), "bfloat16");
  EXPECT_EQ(json.at("kv_bytes_per_token").at("after"), 2 * 4 * (8 + 4) * 2);
  json.erase("output_dir");
  json.erase("seconds");
  for (Json& layer : json.at("layers")) layer.erase("seconds");
  EXPECT_EQ(json, read_json(dir / "out/conversion_report.json"));
}

TEST(ConvertVerb, DefaultsAreTheOriginals) {
  const TempDir dir;
  const CommandResult result = run_vlm_mla(convert_arguments((dir / "out").string()));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json config = read_json(dir / "out/config.json");
  EXPECT_EQ(config.at("torch_dtype"), "bfloat16");
  const Json mla = config.at("mha2mla");
  EXPECT_EQ(mla.at("partial_rope_version"), "high");
  EXPECT_EQ(mla.at("rope_dim_for_mla"), 16);
  EXPECT_EQ(mla.at("uniform_start_point"), 0);
  EXPECT_EQ(mla.at("svd_init_method"), "joint");
  EXPECT_EQ(mla.at("low_rank"), 8);
  EXPECT_NE(result.out.find("KV cache per token"), std::string::npos) << result.out;
}

TEST(ConvertVerb, ErrorsHaveTheirExitCodes) {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  for (const auto& [more, code] : std::vector<std::pair<std::vector<std::string>, int>>{
           {{"--low_rank", "0"}, 2},
           {{"--rope_dim_for_mla", "7"}, 2},
           {{"--svd_init_method", "qr"}, 2},
           {{"--torch_dtype", "int8"}, 2},
           {{"--partial_rope_version", "2-norm"}, 2},
           {{"--model", out}, 3},
           {{"--model", converted_model()}, 6}}) {
    const CommandResult result = run_vlm_mla(convert_arguments(out, more));
    EXPECT_EQ(result.exit_code, code) << more[0] << ": " << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_TRUE(fs::is_empty(dir.path())) << more[0];
  }
}

}  // namespace
}  // namespace vmla::test
