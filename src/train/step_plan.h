// How many steps a run has, and where in the data a step begins.
#pragma once

#include <cstdint>

namespace vmla {

struct StepPlan {
  std::int64_t batches_per_epoch = 0;  // of one rank
  std::int64_t accumulation = 1;
  std::int64_t steps_per_epoch = 0;  // the last step of an epoch may hold fewer batches
  std::int64_t max_steps = 0;
  std::int64_t epochs = 0;  // begun ones

  std::int64_t epoch_of(std::int64_t step) const { return step / steps_per_epoch; }
  std::int64_t first_batch_of(std::int64_t step) const {
    return step % steps_per_epoch * accumulation;
  }
  std::int64_t batches_in(std::int64_t step) const;
  // HF's "epoch" after `steps` steps.
  double epoch_after(std::int64_t steps) const;
};

// transformers 5's rule: no batch of an epoch is dropped. max_steps > 0 wins over epochs. Errors:
// ErrorKind::Usage when nothing would be trained.
StepPlan plan_steps(std::int64_t batches_per_epoch,
                    std::int64_t accumulation,
                    double epochs,
                    std::int64_t max_steps);

// HF's logging_steps and save_steps: below 1 a ratio of all steps. -> at least 1.
std::int64_t absolute_steps(double steps, std::int64_t max_steps);

}  // namespace vmla
