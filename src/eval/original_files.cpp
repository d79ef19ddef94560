#include "eval/original_files.h"

#include "eval/original_metric.h"
#include "eval/prediction_log.h"
#include "eval/python_text.h"

namespace vmla {
namespace {

constexpr double kCorrect = 0.3;

}  // namespace

void write_original_files(const ScoreReport& report, const OriginalFiles& files) {
  std::string predictions, errors;
  double sum = 0.0;
  std::int64_t correct = 0;
  for (std::size_t i = 0; i < report.samples.size(); ++i) {
    const VqaSample& sample = report.samples[i];
    const std::string text = report.predictions[i].value_or("");
    const std::string brief = original_short_answer(text);
    // A question without a prediction is wrong, whatever its answers are.
    const double accuracy = report.predictions[i] ? original_accuracy(text, sample.answers) : 0.0;
    const bool is_correct = accuracy >= kCorrect;
    sum += accuracy;
    correct += is_correct ? 1 : 0;
    Json line = {{"question_id", sample.id.text}, {"question", sample.question}};
    if (!is_correct) {
      Json error = line;
      error["prediction"] = brief;
      error["ground_truth"] = sample.answers;
      errors += log_text(error);
    }
    line["prediction"] = std::string(py_strip(text));
    line["prediction_short"] = brief;
    line["ground_truth"] = sample.answers;
    line["accuracy"] = accuracy;
    line["is_correct"] = is_correct;
    predictions += log_text(line);
  }
  const auto path = [&](const char* end) {
    return files.folder / fmt::format("vqav2_{}_{}", files.split, end);
  };
  if (files.predictions) {
    const auto total = static_cast<double>(report.samples.size());
    write_json(path("metrics.json"),
               {{"dataset", "vqav2"},
                {"split", files.split},
                {"total_samples", report.samples.size()},
                {"accuracy", sum / total},
                {"exact_match", static_cast<double>(correct) / total}});
    write_file_atomic(path("predictions.jsonl"), predictions);
  }
  if (files.errors) write_file_atomic(path("errors.jsonl"), errors);
}

}  // namespace vmla
