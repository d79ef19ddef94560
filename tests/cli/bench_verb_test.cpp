#include <gtest/gtest.h>

#include <map>

#include "cli/models.h"

namespace vmla::test {
namespace {

CommandResult bench(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {"bench", "--dtype", "float32", "--device", "cpu", "--num_runs", "2"});
  CommandResult result = run_vlm_mla(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result;
}

TEST(Bench, MeasuresEveryCombination) {
  const CommandResult result = bench({"--baseline_model",
                                      kMha,
                                      "--mla_model",
                                      converted_model(),
                                      "--prompt_tokens",
                                      "5,9",
                                      "--batch_size",
                                      "1,3",
                                      "--max_new_tokens",
                                      "4",
                                      "--json"});
  const Json json = parse_json(result.out, "stdout");
  EXPECT_EQ(json["memory_method"], "rss");
  ASSERT_EQ(json["results"].size(), 8U);
  for (const auto& r : json["results"]) {
    const bool mla = r["role"] == "mla";
    const std::int64_t per_token = 2 * 4 * (mla ? 8 + 4 : 2 * 16) * 4;
    const std::int64_t cached = r["prompt_tokens"].get<std::int64_t>() + 3;
    EXPECT_EQ(r["kv_bytes_per_token"], per_token);
    EXPECT_EQ(r["kv_cache_bytes"], r["batch_size"].get<std::int64_t>() * cached * per_token);
    EXPECT_EQ(r["output_tokens"], 4);
    EXPECT_GT(r["first_token_seconds"], 0);
    EXPECT_GT(r["decode_tokens_per_second"], 0);
    EXPECT_EQ(r["peak_bytes"],
              r["weight_bytes"].get<std::int64_t>() + r["overhead_bytes"].get<std::int64_t>());
  }
}

TEST(Bench, TheOriginalsCommandLineGivesItsTable) {
  const CommandResult result = run_vlm_mla({"benchmark_memory",
                                            "--baseline_model",
                                            kMha,
                                            "--mla_model",
                                            converted_model(),
                                            "--image",
                                            kStripes,
                                            "--prompt",
                                            "What?",
                                            "--max_new_tokens",
                                            "3",
                                            "--num_runs",
                                            "2",
                                            "--dtype",
                                            "bfloat16",
                                            "--local_files_only",
                                            "--batch_size",
                                            "2",
                                            "--no_force_length"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* words : {"batch 2, 30 prompt tokens",
                            "Model weights (MiB)",
                            "KV+act overhead (MiB)",
                            "Total peak memory (MiB)",
                            "KV cache (bytes a token)    | 512           | 192           | -62.5%",
                            "Throughput (tok/s)"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << " in\n" << result.out;
  }
}

TEST(Bench, ProfileNamesTheOperatorsOfAStep) {
  const CommandResult result = bench({"--mla_model",
                                      converted_model(),
                                      "--prompt_tokens",
                                      "5",
                                      "--max_new_tokens",
                                      "2",
                                      "--profile",
                                      "--json"});
  const Json json = parse_json(result.out, "stdout");
  EXPECT_GT(json["copy_bytes_per_second"], 0);
  const Json& measured = json["results"][0];
  EXPECT_GT(measured["copy_bandwidth_share"], 0);
  EXPECT_EQ(measured["profile"]["kernels_of"], "cpu");
  std::map<std::string, double> calls;
  for (const Json& kernel : measured["profile"]["kernels"])
    calls[kernel["name"]] = kernel["calls_per_step"];
  EXPECT_EQ(calls["aten::_softmax"], 2);  // one a layer
}

TEST(Bench, OneModelIsEnough) {
  const CommandResult result =
      bench({"--mla_model", converted_model(), "--prompt_tokens", "5", "--max_new_tokens", "2"});
  EXPECT_NE(result.out.find("KV cache (bytes a token)    | -             | 384           | -"),
            std::string::npos)
      << result.out;
}

}  // namespace
}  // namespace vmla::test
