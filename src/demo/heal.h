// A short fine-tune of a converted model.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "base/files.h"

namespace vmla {

struct HealOptions {
  fs::path model;
  fs::path train_json;
  fs::path image_folder;
  fs::path output_dir;
  std::int64_t steps = 40;
  std::int64_t batch_size = 16;
  double learning_rate = 5e-4;
  std::uint64_t seed = 42;
  at::Device device = at::kCPU;
};

// -> (step, training loss). Errors: those of the trainer.
std::vector<std::pair<double, double>> heal_model(const HealOptions& options);

}  // namespace vmla
