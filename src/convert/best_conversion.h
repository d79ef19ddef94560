// The recipe "best": a conversion that minimises what attention loses on calibration data.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <string>

#include "convert/calibration_data.h"
#include "convert/distillation.h"
#include "convert/recipe_steps.h"
#include "convert/report.h"

namespace vmla {

struct BestOptions {
  fs::path model;  // directory of an unconverted model
  fs::path output_dir;
  std::string source_name;  // stored in the output; default: the name of the model's directory
  double kv_budget = 0.25;  // numbers a token, as a share of the source's
  CalibrationOptions calibration;
  CalibrationOptions report_data;  // held out; the report then compares the two models on it
  LayerRecipe recipe = LayerRecipe::Best;
  RecipeSteps steps;
  DistillOptions distillation;  // as ConversionOptions'
  bool curves = true;           // spread the budget over layers by measured curves
  double floor_share = 0.0;     // least budget of a layer, of the mean; 0: 0.5, 0.75 below 15 %
  std::int64_t rope_dim = 0;    // R of RopeLayout::PerHead; 0: by what is lost
  at::ScalarType dtype = at::kBFloat16;  // of every tensor of the output
  at::Device device = at::kCPU;
  bool overwrite = false;
  const std::atomic<bool>* cancel = nullptr;
};

// Writes output_dir as convert_checkpoint does; RopeLayout::Shared has no "mha2mla", PerHead is one
// that the Python original loads. Weights are handled in float32, linear algebra in double, and
// besides the calibration stream one layer is in memory at a time, but for the curves, which keep
// the model. Errors: as convert_checkpoint's and CalibrationSet::load's.
ConversionReport convert_best(const BestOptions& options);

}  // namespace vmla
