// The results of a benchmark as a table and as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "bench/decode_bench.h"

namespace vmla {

// One batch size and prompt length; either model may be absent.
struct BenchCase {
  std::optional<BenchMeasurement> baseline;
  std::optional<BenchMeasurement> mla;
};

struct BenchReport {
  BenchSettings settings;
  std::string device;
  std::string dtype;
  std::string memory_method;
  double copy_bytes_per_second = 0;  // copy_bandwidth() of the device in this run
  std::string baseline_model;
  std::string mla_model;
  std::vector<BenchCase> cases;
  // Sequences of largest_batch_tokens tokens that the device holds at once; 0 tokens: not asked.
  std::int64_t largest_batch_tokens = 0;
  std::optional<std::int64_t> baseline_largest, mla_largest;
};

// The Python original's table, one a case, with lines for what it leaves out. Sizes in MiB.
std::string bench_text(const BenchReport& report);
Json bench_json(const BenchReport& report);

}  // namespace vmla
