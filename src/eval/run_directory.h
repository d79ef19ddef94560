// What a run keeps on disk while it answers, so that it goes on after whatever has ended it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "data/instruct_dataset.h"
#include "eval/answer_runner.h"
#include "eval/benchmark.h"

namespace vmla {

struct RecordedAnswers {
  std::vector<std::optional<std::string>> texts;  // one for each sample
  std::vector<SampleProblem> problems;            // of samples without a text: why
};

// run.json, predictions.jsonl and, with several ranks, predictions.rankN.jsonl of each. The folder,
// the samples and the number of ranks are the same on all ranks.
class RunDirectory {
 public:
  // samples must outlive it.
  RunDirectory(fs::path folder, Benchmark benchmark, const std::vector<VqaSample>& samples);

  // Rank 0, before any rank reads or writes. Makes the folder, or takes up the unfinished run
  // there: torn last lines go, answers of all its ranks go into predictions.jsonl. overwrite: what
  // a run has left goes. Errors: Usage for a run of other settings, Io, Config.
  void prepare(const Json& settings, bool overwrite) const;

  // Where a rank writes its lines.
  fs::path log(std::int64_t rank, std::int64_t ranks) const;
  Json line(const Answer& answer) const;

  // From all logs.
  RecordedAnswers read() const;
  // Once predictions.jsonl holds everything.
  void remove_rank_logs() const;

 private:
  std::vector<fs::path> rank_logs() const;
  void check_settings(const Json& settings) const;
  void gather() const;

  fs::path folder_;
  Benchmark benchmark_;
  const std::vector<VqaSample>& samples_;
};

// Hex; differs when a question, its image's name or an answer differs.
std::string samples_digest(const std::vector<VqaSample>& samples);

}  // namespace vmla
