#include "cli/calibration_flags.h"

namespace vmla {

void add_calibration_options(CLI::App& verb, CalibrationOptions& o) {
  add_value(verb,
            "--calibration_data",
            o.data,
            "PATH",
            "conversations to calibrate on: LLaVA-Instruct JSON or JSONL, or its folder");
  add_value(verb, "--image_root", o.image_root, "DIR", "folder of their images");
  add_value(verb, "--calibration_text", o.text, "FILE", "plain text to calibrate on");
  add_value(verb, "--calibration_samples", o.samples, "N", "conversations that are used");
  add_value(verb,
            "--calibration_text_windows",
            o.text_windows,
            "N",
            "windows of text that are used, evenly over the file");
  add_value(verb, "--calibration_text_tokens", o.text_tokens, "N", "tokens of a window");
  add_value(verb,
            "--calibration_max_length",
            o.max_length,
            "N",
            "tokens of a conversation; its end is cut, never the image");
  add_value(verb,
            "--calibration_batch_size",
            o.batch_size,
            "N",
            "samples at a time; the result is the same");
  add_value(
      verb, "--calibration_seed", o.seed, "N", "which samples are chosen; 0: the first, in order");
}

void add_distillation_options(CLI::App& verb, DistillOptions& o) {
  add_value(verb,
            "--distill_steps",
            o.steps,
            "N",
            "optimizer steps of all factors towards the source's next-token distribution");
  add_value(verb,
            "--distill_learning_rate",
            o.learning_rate,
            "X",
            "of these steps, times each tensor's root mean square");
  add_value(verb,
            "--distill_batch_size",
            o.batch_size,
            "N",
            "conversations of such a step, beside half as many windows of text");
  add_value(
      verb,
      "--distill_samples",
      o.samples,
      "N",
      "conversations to learn from, where more than the conversion is calibrated on, and half "
      "as many windows of text");
}

}  // namespace vmla
