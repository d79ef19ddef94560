#include "train/step_plan.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace vmla {

std::int64_t StepPlan::batches_in(std::int64_t step) const {
  return std::min(accumulation, batches_per_epoch - first_batch_of(step));
}

double StepPlan::epoch_after(std::int64_t steps) const {
  const std::int64_t whole = steps / steps_per_epoch;
  const std::int64_t batches = steps % steps_per_epoch * accumulation;
  return static_cast<double>(whole) +
         static_cast<double>(batches) / static_cast<double>(batches_per_epoch);
}

StepPlan plan_steps(std::int64_t batches_per_epoch,
                    std::int64_t accumulation,
                    double epochs,
                    std::int64_t max_steps) {
  check(batches_per_epoch > 0, ErrorKind::Usage, "--data_path: expected samples, found none");
  check(accumulation > 0,
        ErrorKind::Usage,
        "--gradient_accumulation_steps: expected 1 or more, got {}",
        accumulation);
  StepPlan plan;
  plan.batches_per_epoch = batches_per_epoch;
  plan.accumulation = accumulation;
  plan.steps_per_epoch = (batches_per_epoch + accumulation - 1) / accumulation;
  plan.max_steps = max_steps > 0 ? max_steps
                                 : static_cast<std::int64_t>(std::ceil(
                                       epochs * static_cast<double>(plan.steps_per_epoch)));
  check(plan.max_steps > 0,
        ErrorKind::Usage,
        "--num_train_epochs: expected more than 0 (or --max_steps), got {}",
        epochs);
  plan.epochs = (plan.max_steps + plan.steps_per_epoch - 1) / plan.steps_per_epoch;
  return plan;
}

std::int64_t absolute_steps(double steps, std::int64_t max_steps) {
  const double absolute = steps < 1 ? std::ceil(static_cast<double>(max_steps) * steps) : steps;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(absolute));
}

}  // namespace vmla
