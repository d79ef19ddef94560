// Adam on a converted attention's own weights.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "nn/attention.h"

namespace vmla {

struct FactorSchedule {
  std::int64_t steps = 100;
  double learning_rate = 0.01;  // times each tensor's root mean square
  double beta1 = 0.9, beta2 = 0.95;
  std::int64_t warmup_steps = 10;
  double final_share = 0.02;  // of the learning rate, after the cosine
};

// Every weight of the attentions but q_proj and biases; these alone require a gradient, until
// release().
class FactorOptimizer {
 public:
  explicit FactorOptimizer(const FactorSchedule& schedule) : schedule_(schedule) {}

  void add(Attention& attention);
  // Takes the gradients that backward left and clears them.
  void step();
  void release();

  std::vector<at::Tensor> values() const;  // copies
  void set_values(const std::vector<at::Tensor>& values);

 private:
  struct Factor {
    at::Tensor* tensor;
    double learning_rate;
    at::Tensor first, second;  // Adam's moments
  };
  double share_of_rate() const;

  FactorSchedule schedule_;
  std::int64_t done_ = 0;
  std::vector<Factor> factors_;
};

}  // namespace vmla
