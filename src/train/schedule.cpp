#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace vmla {
namespace {

RampShape parse_ramp(const std::string& name, const std::string& key) {
  if (name == "linear") return RampShape::Linear;
  if (name == "cosine") return RampShape::Cosine;
  if (name == "1-sqrt") return RampShape::OneMinusSqrt;
  fail(ErrorKind::Usage,
       "--lr_scheduler_kwargs: {}: expected linear, cosine or 1-sqrt, got {}",
       key,
       name);
}

double half_cosine(double progress, double cycles) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * cycles * 2.0 * progress));
}

}  // namespace

std::string schedule_kind_name(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::Linear:
      return "linear";
    case ScheduleKind::Cosine:
      return "cosine";
    case ScheduleKind::Constant:
      return "constant";
    case ScheduleKind::ConstantWithWarmup:
      return "constant_with_warmup";
    case ScheduleKind::Wsd:
      return "wsd";
  }
  return "?";
}

ScheduleKind parse_schedule_kind(const std::string& name) {
  if (name == "warmup_stable_decay") return ScheduleKind::Wsd;  // transformers' name
  for (const ScheduleKind kind : {ScheduleKind::Linear,
                                  ScheduleKind::Cosine,
                                  ScheduleKind::Constant,
                                  ScheduleKind::ConstantWithWarmup,
                                  ScheduleKind::Wsd}) {
    if (name == schedule_kind_name(kind)) return kind;
  }
  fail(
      ErrorKind::Usage,
      "--lr_scheduler_type: expected linear, cosine, constant, constant_with_warmup or wsd, got {}",
      name);
}

void apply_schedule_kwargs(const Json& kwargs, ScheduleOptions& options) {
  const std::string subject = "--lr_scheduler_kwargs";
  check(kwargs.is_object(),
        ErrorKind::Usage,
        "{}: expected an object, got {}",
        subject,
        json_type_name(kwargs));
  const bool wsd = options.kind == ScheduleKind::Wsd;
  for (const auto& [key, value] : kwargs.items()) {
    if (key == "num_cycles" && (wsd || options.kind == ScheduleKind::Cosine)) {
      options.num_cycles = json_require<double>(kwargs, key, subject);
    } else if (key == "num_decay_steps" && wsd) {
      options.num_decay_steps = json_require<std::int64_t>(kwargs, key, subject);
    } else if (key == "min_lr_ratio" && wsd) {
      options.min_lr_ratio = json_require<double>(kwargs, key, subject);
    } else if (key == "warmup_type" && wsd) {
      options.warmup_type = parse_ramp(json_require<std::string>(kwargs, key, subject), key);
    } else if (key == "decay_type" && wsd) {
      options.decay_type = parse_ramp(json_require<std::string>(kwargs, key, subject), key);
    } else {
      fail(ErrorKind::Usage, "{}: expected keys of this schedule, got {}", subject, key);
    }
  }
}

Schedule::Schedule(const ScheduleOptions& options, std::int64_t total_steps)
    : options_(options), total_(total_steps) {
  const auto total = static_cast<double>(total_steps);
  const double ratio = options.warmup_steps > 0 && options.warmup_steps < 1 ? options.warmup_steps
                                                                            : options.warmup_ratio;
  warmup_ = options.warmup_steps >= 1 ? static_cast<std::int64_t>(options.warmup_steps)
                                      : static_cast<std::int64_t>(std::ceil(total * ratio));
  decay_ = options.num_decay_steps >= 0 ? options.num_decay_steps
                                        : static_cast<std::int64_t>(std::ceil(total * 0.1));
}

double Schedule::factor(std::int64_t step) const {
  if (options_.kind == ScheduleKind::Constant) return 1.0;
  if (options_.kind == ScheduleKind::Wsd) return wsd_factor(step);
  if (step < warmup_) {
    return static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, warmup_));
  }
  if (options_.kind == ScheduleKind::ConstantWithWarmup) return 1.0;
  const auto rest = static_cast<double>(std::max<std::int64_t>(1, total_ - warmup_));
  if (options_.kind == ScheduleKind::Linear) {
    return std::max(0.0, static_cast<double>(total_ - step) / rest);
  }
  return std::max(0.0,
                  half_cosine(static_cast<double>(step - warmup_) / rest, options_.num_cycles));
}

double Schedule::wsd_factor(std::int64_t step) const {
  const double floor = options_.min_lr_ratio;
  const auto raised = [&](double factor) { return std::max(0.0, factor * (1.0 - floor) + floor); };
  if (step < warmup_) {
    const double progress =
        static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, warmup_));
    switch (options_.warmup_type) {
      case RampShape::Linear:
        return raised(progress);
      case RampShape::Cosine:
        return raised(0.5 * (1.0 - std::cos(std::numbers::pi * progress)));
      case RampShape::OneMinusSqrt:
        return raised(1.0 - std::sqrt(1.0 - progress));
    }
  }
  if (step < total_ - decay_) return 1.0;
  if (step >= total_) return floor;
  const double progress = static_cast<double>(step - (total_ - decay_)) /
                          static_cast<double>(std::max<std::int64_t>(1, decay_));
  switch (options_.decay_type) {
    case RampShape::Linear:
      return raised(1.0 - progress);
    case RampShape::Cosine:
      return raised(half_cosine(progress, options_.num_cycles));
    case RampShape::OneMinusSqrt:
      return raised(1.0 - std::sqrt(progress));
  }
  return floor;
}

}  // namespace vmla
