// The data that a conversion is calibrated on.
#pragma once

#include "cli/flags.h"
#include "convert/calibration_data.h"
#include "convert/distillation.h"

namespace vmla {

// --calibration_data, --image_root, --calibration_text and how much of each.
void add_calibration_options(CLI::App& verb, CalibrationOptions& options);
// --distill_steps and how.
void add_distillation_options(CLI::App& verb, DistillOptions& options);

}  // namespace vmla
