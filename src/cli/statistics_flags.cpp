#include "cli/statistics_flags.h"

namespace vmla {

void StatisticsFlags::add(CLI::App& verb) {
  add_value(verb,
            "--calibration_cache",
            cache_dir,
            "DIR",
            "where statistics are kept (default ~/.cache/vlm-mla/calibration)");
  add_value(verb,
            "--image_weight",
            image_weight,
            "X",
            "image tokens' share in all statistics, 0 to 1; below 0: every token counts alike");
  add_value(verb,
            "--damping",
            damping,
            "X",
            "whitened: what is added to the inputs' second moments, as a share of their mean");
  add_switch(verb, "--balance_kv", balance_kv, "whitened: K's and V's outputs count alike per dim");
  add_value(verb,
            "--report_data",
            report_data,
            "PATH",
            "held-out conversations on which the report compares the two models");
  add_value(verb,
            "--report_image_root",
            report_image_root,
            "DIR",
            "folder of their images (default --image_root)");
  add_value(verb, "--report_text", report_text, "FILE", "held-out text, for the same");
  add_value(verb, "--report_samples", report_samples, "N", "held-out conversations that are used");
}

void StatisticsFlags::apply(const CalibrationOptions& calibration,
                            StatisticsOptions& options) const {
  options.calibration_cache = cache_dir;
  options.image_weight = image_weight;
  options.damping = damping;
  options.balance_kv = balance_kv;
  options.report_data = calibration;
  options.report_data.seed = 0;
  options.report_data.data = report_data;
  if (!report_image_root.empty()) options.report_data.image_root = report_image_root;
  options.report_data.text = report_text;
  options.report_data.samples = report_samples;
}

}  // namespace vmla
