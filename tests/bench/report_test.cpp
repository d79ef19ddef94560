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
  return m;
}

BenchReport report() {
  BenchReport out;
  out.device = "cpu";
  out.dtype = "bfloat16";
  out.memory_method = "rss";
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
                           "Decode (tok/s, all rows)    | 8.00          | 12.00         | 1.50x\n",
                           "Throughput (tok/s)          | 4.00          | 6.00          | 1.50x\n",
                           "Model weights (MiB)         | -             | 50.0          | -\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST(BenchReport, JsonHoldsEveryMeasurement) {
  const Json json = bench_json(report());
  ASSERT_EQ(json["results"].size(), 3U);
  EXPECT_EQ(json["results"][0]["role"], "baseline");
  EXPECT_EQ(json["results"][0]["model"], "base");
  EXPECT_EQ(json["results"][0]["peak_bytes"], 150 << 20);
  EXPECT_EQ(json["results"][2]["role"], "mla");
  EXPECT_EQ(json["num_runs"], 5);
}

}  // namespace
}  // namespace vmla::test
