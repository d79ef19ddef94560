#include "bench/report.h"

#include <gtest/gtest.h>

namespace vmla::test {
namespace {

BenchMeasurement measurement(std::int64_t mib, double speed) {
  BenchMeasurement m;
  m.batch_size = 2;
  m.prompt_tokens = 64;
  m.output_tokens = 32;
  m.weight_bytes = mib << 20;
  m.overhead_bytes = mib << 19;
  m.kv_cache_bytes = mib << 18;
  m.kv_bytes_per_token = 512 * mib;
  m.first_token_seconds = 0.25;
  m.decode_tokens_per_second = speed;
  m.tokens_per_second = speed / 2;
  m.step_read_bytes = 1e9;
  return m;
}

BenchReport report() {
  BenchReport out;
  out.device = "cpu";
  out.dtype = "bfloat16";
  out.memory_method = "rss";
  out.copy_bytes_per_second = 10e9;
  out.baseline_model = "base";
  out.mla_model = "mla";
  out.cases.push_back({measurement(100, 8), measurement(50, 12)});
  out.cases.push_back({{}, measurement(50, 12)});
  return out;
}

TEST(BenchReport, TheTableComparesTheModels) {
  const std::string text = bench_text(report());
  for (const char* line : {"Model weights (MiB)         | 100.0         | 50.0          | -50.0\n",
                           "KV+act overhead (MiB)       | 50.0          | 25.0          | -50.0%\n",
                           "Total peak memory (MiB)     | 150.0         | 75.0          | -50.0%\n",
                           "KV cache, exact (MiB)       | 25.000        | 12.500        | -50.0%\n",
                           "Time to first token (ms)    | 250.0         | 250.0         | 1.00x\n",
                           "Prefill (tok/s, all rows)   | 512           | 512           | 1.00x\n",
                           "Decode (tok/s, all rows)    | 8.00          | 12.00         | 1.50x\n",
                           "Throughput (tok/s)          | 4.00          | 6.00          | 1.50x\n",
                           "Read rate (GB/s)            | 4.0           | 6.0           | 1.50x\n",
                           "Share of copy bandwidth (%) | 40.0          | 60.0          | +20.0\n",
                           "Model weights (MiB)         | -             | 50.0          | -\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST(BenchReport, WhatIsBeyondWeightsAndCacheIsShownWhereItIsKnown) {
  BenchReport known = report();
  EXPECT_EQ(bench_text(known).find("Beyond both"), std::string::npos);
  EXPECT_TRUE(bench_json(known)["results"][0]["beyond_formula_bytes"].is_null());
  known.cases[0].baseline->beyond_formula_bytes = 140 << 20;
  known.cases[0].mla->beyond_formula_bytes = 120 << 20;
  EXPECT_NE(bench_text(known).find(
                "Beyond both, peak (MiB)     | 140.0         | 120.0         | -20.0\n"),
            std::string::npos);
  EXPECT_EQ(bench_json(known)["results"][1]["beyond_formula_bytes"], 120 << 20);
}

TEST(BenchReport, JsonHoldsEveryMeasurement) {
  const Json json = bench_json(report());
  ASSERT_EQ(json["results"].size(), 3U);
  EXPECT_EQ(json["results"][0]["role"], "baseline");
  EXPECT_EQ(json["results"][0]["model"], "base");
  EXPECT_EQ(json["results"][0]["peak_bytes"], 150 << 20);
  EXPECT_EQ(json["results"][2]["role"], "mla");
  EXPECT_EQ(json["num_runs"], 5);
  EXPECT_EQ(json["copy_bytes_per_second"], 10e9);
  EXPECT_DOUBLE_EQ(json["results"][0]["copy_bandwidth_share"], 0.4);
  EXPECT_TRUE(json["results"][0]["profile"].is_null());
}

TEST(BenchReport, TheProfileListsTheLongestKernels) {
  BenchReport out = report();
  EXPECT_EQ(bench_text(out).find("us/step"), std::string::npos);
  StepProfile& profile = out.cases[0].mla->profile;
  profile.of_device = true;
  profile.step_seconds = 200e-6;
  profile.kernels = {{"void gemv<int>(float*)", 6, 90e-6}, {"merge", 2, 10e-6}};
  const std::string text = bench_text(out);
  for (const char* line :
       {"MLA: a decode step takes 200.0 us; its GPU kernels 100.0 us (profiled)\n",
        "     90.0   90.0%     6.0  gemv<int>\n",
        "     10.0   10.0%     2.0  merge\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
  const Json json = bench_json(out)["results"][1]["profile"];
  EXPECT_EQ(json["kernels_of"], "gpu");
  EXPECT_EQ(json["kernels"][0]["calls_per_step"], 6);
  EXPECT_DOUBLE_EQ(json["kernels"][1]["seconds_per_step"], 10e-6);
}

}  // namespace
}  // namespace vmla::test
