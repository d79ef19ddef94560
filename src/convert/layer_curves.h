// What compressing one layer alone costs the whole model, measured.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "convert/budget_allocation.h"
#include "convert/calibration.h"
#include "convert/recipe_steps.h"
#include "convert/stage_seconds.h"

namespace vmla {

struct CurveOptions {
  RecipeSteps steps;             // RopeLayout::Shared; the fit is left out
  std::int64_t mean_budget = 0;  // numbers a token and layer
  std::int64_t windows = 16;     // text windows that are judged
  std::int64_t conversations = 64;
  const std::atomic<bool>* cancel = nullptr;
};

struct MeasuredCurve : LayerCurve {
  StageSeconds seconds;
};

// For each layer the KL of the source's next-token distribution, mean over text tokens plus mean
// over answer tokens, when that layer alone is converted to some budgets around the mean. stream
// is the source's, before layer 0. All layers of model stay packed, its head stays loaded.
std::vector<MeasuredCurve> measure_curves(CalibrationModel& model,
                                          CalibrationStream stream,
                                          const CurveOptions& options);

}  // namespace vmla
