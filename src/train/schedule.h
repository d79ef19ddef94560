// Learning rate over time, by Hugging Face's formulas.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"

namespace vmla {

enum class ScheduleKind { Linear, Cosine, Constant, ConstantWithWarmup, Wsd };
enum class RampShape { Linear, Cosine, OneMinusSqrt };

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::Cosine;
  double warmup_ratio = 0.0;
  double warmup_steps = 0.0;  // below 1: a ratio, as in transformers 5; else it wins over the ratio
  // Wsd only. Without num_decay_steps the last tenth of the steps decays.
  std::int64_t num_decay_steps = -1;
  RampShape warmup_type = RampShape::Linear;
  RampShape decay_type = RampShape::OneMinusSqrt;
  double min_lr_ratio = 0.0;
  double num_cycles = 0.5;  // Cosine and Wsd
};

// "linear", "cosine", "constant", "constant_with_warmup", "wsd" ("warmup_stable_decay").
// Errors: ErrorKind::Usage.
ScheduleKind parse_schedule_kind(const std::string& name);
std::string schedule_kind_name(ScheduleKind kind);
// HF's --lr_scheduler_kwargs, such as {"num_decay_steps": 50, "decay_type": "cosine"}. Errors:
// ErrorKind::Usage for a key that the schedule does not have.
void apply_schedule_kwargs(const Json& kwargs, ScheduleOptions& options);

class Schedule {
 public:
  Schedule(const ScheduleOptions& options, std::int64_t total_steps);
  // What the base learning rate is multiplied by in step `step` (the first is 0).
  double factor(std::int64_t step) const;
  std::int64_t warmup_steps() const { return warmup_; }

 private:
  double wsd_factor(std::int64_t step) const;
  ScheduleOptions options_;
  std::int64_t total_;
  std::int64_t warmup_;
  std::int64_t decay_;
};

}  // namespace vmla
