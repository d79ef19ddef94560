// The result files of the Python original, for scripts that read them.
#pragma once

#include "eval/score.h"

namespace vmla {

struct OriginalFiles {
  fs::path folder;
  std::string split;  // part of their names
  bool predictions = true;
  bool errors = true;
};

// By its own metric: vqav2_SPLIT_metrics.json {dataset, split, total_samples, accuracy,
// exact_match} and vqav2_SPLIT_predictions.jsonl {question_id, question, prediction,
// prediction_short, ground_truth, accuracy, is_correct}; vqav2_SPLIT_errors.jsonl {question_id,
// question, prediction, ground_truth} with those that are not correct. Errors: ErrorKind::Io.
void write_original_files(const ScoreReport& report, const OriginalFiles& files);

}  // namespace vmla
