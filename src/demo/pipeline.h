// The whole story on one model: data, ranking, conversions, scores, healing, scores again,
// measurements, report.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/files.h"
#include "demo/report.h"

namespace vmla {

struct DemoBudget {
  std::int64_t low_rank = 0;
  std::int64_t rope_dim = 0;
  bool heal = false;
};

struct DemoOptions {
  fs::path model;       // an unconverted model
  fs::path output_dir;  // must not exist unless overwrite
  bool overwrite = false;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  std::int64_t questions = 200;
  std::int64_t train_images = 2000;
  std::int64_t calibration_samples = 64;
  std::int64_t heal_steps = 240;
  std::int64_t heal_batch = 8;
  double heal_learning_rate = 3e-4;
  std::int64_t fit_steps = 40;  // of the recipe "best", at the budgets that are healed
  std::uint64_t seed = 7;       // of data that the shipped model was not trained on
  std::vector<DemoBudget>
      budgets;  // empty: about 50, 25 and 12.5 % of the model's KV, the smaller two healed
  std::int64_t strategies_at = 0;   // index into budgets
  std::int64_t decode_tokens = 64;  // of the measurements
};

// Writes report.json, report.html, charts and the converted models below output_dir and returns
// what it measured.
DemoReport run_demo(const DemoOptions& options);

}  // namespace vmla
