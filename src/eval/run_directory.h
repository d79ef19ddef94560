// What a run keeps on disk while it answers, so that it goes on after whatever has ended it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "data/vqa_sample.h"
#include "eval/answer_runner.h"
#include "eval/benchmark.h"
#include "eval/question_problem.h"
#include "eval/run_folder.h"

namespace vmla {

struct RecordedAnswers {
  std::vector<std::optional<std::string>> texts;  // one for each sample
  std::vector<QuestionProblem> problems;          // of samples without a text: why
};

// The folder, the samples and the number of ranks are the same on all ranks.
class RunDirectory {
 public:
  // samples must outlive it.
  RunDirectory(fs::path folder, Benchmark benchmark, const std::vector<VqaSample>& samples);

  // Rank 0, before any rank reads or writes: RunFolder::take_up, and answers of all ranks of an
  // unfinished run go into predictions.jsonl. Errors: Usage for a run of other settings, Io,
  // Config.
  void prepare(const Json& settings, bool overwrite);

  const RunFolder& folder() const { return folder_; }
  Json line(const Answer& answer) const;

  // From all logs.
  RecordedAnswers read() const;

 private:
  void gather() const;

  RunFolder folder_;
  Benchmark benchmark_;
  const std::vector<VqaSample>& samples_;
};

// Hex; differs when a question, its image's name or an answer differs.
std::string samples_digest(const std::vector<VqaSample>& samples);

}  // namespace vmla
