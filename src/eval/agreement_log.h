// What a comparison of two models keeps on disk of each question.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/vqa_sample.h"
#include "eval/divergence.h"
#include "eval/question_problem.h"
#include "eval/run_folder.h"

namespace vmla {

// On one question. The distributions compared are those behind the prompt and behind each token of
// the reference's answer (its end token not counted), that answer being fed to both models.
struct QuestionAgreement {
  std::string reference_answer;
  std::string answer;  // the model's own
  Divergence divergence;

  bool same_answer() const;  // after strip
};

struct RecordedAgreement {
  std::vector<std::optional<QuestionAgreement>> questions;  // one a sample; nothing: not yet
  std::vector<QuestionProblem> problems;                    // of samples that failed: why
};

// Lines {question_id, reference_answer, answer, kl, top1, kl_by_position}.
class AgreementLog {
 public:
  // Both must outlive it.
  AgreementLog(const RunFolder& folder, const std::vector<VqaSample>& samples)
      : folder_(folder), samples_(samples) {}

  Json line(std::size_t sample, const QuestionAgreement& question) const;
  Json line(std::size_t sample, const std::string& failure) const;
  // From all logs. Errors: Io, Config.
  RecordedAgreement read() const;
  // Puts what is recorded in predictions.jsonl, in the order of the samples, and removes the ranks'
  // logs.
  void gather(const RecordedAgreement& recorded) const;

 private:
  const RunFolder& folder_;
  const std::vector<VqaSample>& samples_;
};

}  // namespace vmla
