// What the end-to-end distillation of a conversion did.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"

namespace vmla {

struct DistillationReport {
  // KL(source || converted) of the next token, means over tokens of one kind of samples.
  struct Part {
    std::int64_t samples = 0;
    double before = 0.0, after = 0.0;
  };
  struct Parts {
    Part text, answers;
  };

  std::int64_t steps = 0;
  double learning_rate = 0.0;
  std::int64_t best_step = 0;  // whose factors stay; 0: those from before
  Parts held_out;              // samples that no step of the conversion has seen
  Parts trained;               // of as many that it has

  bool kept() const { return best_step > 0; }
  Json json() const;
  std::string text() const;
};

}  // namespace vmla
