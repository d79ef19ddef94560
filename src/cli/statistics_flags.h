// The flags of convert's statistics that its data flags do not hold.
#pragma once

#include <string>

#include "cli/flags.h"
#include "convert/converter.h"

namespace vmla {

struct StatisticsFlags {
  std::string cache_dir, report_data, report_image_root, report_text;
  double image_weight = kAllTokensAlike;
  double damping = 0.01;
  bool balance_kv = false;
  std::int64_t report_samples = 128;

  void add(CLI::App& verb);
  // calibration: whose image folder and window sizes the report's data share.
  void apply(const CalibrationOptions& calibration, StatisticsOptions& options) const;
};

}  // namespace vmla
