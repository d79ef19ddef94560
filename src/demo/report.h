// What the demo measured, as data, tables and JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "bench/decode_bench.h"

namespace vmla {

// One conversion of the trade-off table.
struct DemoPoint {
  std::string name;  // directory below the demo's output
  std::string strategy;
  std::int64_t low_rank = 0;
  std::int64_t rope_dim = 0;
  std::int64_t kv_bytes_per_token = 0;
  double accuracy_converted = 0.0;  // percent, official VQA accuracy
  std::optional<double> accuracy_healed;
  BenchMeasurement bench;
  std::vector<double> retained_energy;                // a layer
  std::vector<std::pair<double, double>> loss_curve;  // step, loss of healing
};

struct DemoStrategy {
  std::string strategy;
  std::int64_t low_rank = 0;
  std::int64_t rope_dim = 0;
  double accuracy = 0.0;
};

// A conversion by a recipe that calibrates, without healing.
struct DemoRecipe {
  std::string recipe;
  std::int64_t kv_bytes_per_token = 0;
  double accuracy = 0.0;
};

// One picture with a question and what each model answered.
struct DemoSample {
  fs::path image;
  std::string question;
  std::string truth;
  std::vector<std::pair<std::string, std::string>> answers;  // model, answer
};

struct DemoReport {
  std::string model;
  std::string device;
  std::int64_t questions = 0;
  double accuracy = 0.0;  // of the original, percent
  std::int64_t kv_bytes_per_token = 0;
  BenchMeasurement bench;
  double blind_accuracy = 0.0;  // of an answerer that never sees the picture
  std::vector<DemoPoint> trade_off;
  std::vector<DemoStrategy> strategies;
  std::vector<DemoRecipe> recipes;
  std::vector<DemoSample> samples;
  std::vector<std::pair<std::string, double>> steps;  // name, seconds
};

Json demo_json(const DemoReport& report);
// The two tables of the Python original's README, from this run.
std::string demo_text(const DemoReport& report);
// The commands that do the same for llava-hf/llava-1.5-7b-hf.
std::string seven_b_commands();

}  // namespace vmla
