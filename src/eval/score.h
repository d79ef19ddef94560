// Scores predictions that are already there: questions, answers and predictions in, a report out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/benchmark_score.h"
#include "eval/predictions.h"

namespace vmla {

enum class MissingPolicy { Wrong, Exclude };

struct ScoreOptions {
  MissingPolicy missing = MissingPolicy::Wrong;
  Unanimous unanimous = Unanimous::Raw;  // VQAv2: the official script's way
  fs::path choices = {};                 // GQA: the file of valid and plausible answers, or empty
  BootstrapOptions bootstrap;
};

struct ScoreReport {
  Benchmark benchmark = Benchmark::Vqav2;
  std::vector<VqaSample> samples;  // those that count, in the order of the files
  std::vector<std::optional<std::string>> predictions;  // one for each
  BenchmarkScore score;
  Json counts = Json::object();
  Json settings = Json::object();
  Json details = Json::object();  // further members of the report

  // {"metrics": …, "counts": …, "settings": …}
  Json to_json() const;
};

// predictions: one text for each sample, nothing where there is none. GQA's questions outside the
// balanced set are left out. Errors: ErrorKind::Config for a sample without answers and for no
// sample to score.
ScoreReport score_samples(Benchmark benchmark,
                          std::vector<VqaSample> samples,
                          MatchedPredictions predictions,
                          const ScoreOptions& options);

struct ScoreRequest {
  Benchmark benchmark = Benchmark::Vqav2;
  BenchmarkFiles files;  // no questions: MME's result files bring theirs
  fs::path predictions;
  ScoreOptions options;
};

ScoreReport score_files(const ScoreRequest& request);

// Each variant's overall score with its interval, and the counts, for reading.
std::string score_table(const ScoreReport& report);

// predictions.jsonl (question_id, prediction, scores by variant), results.json and printed.txt.
void write_score_report(const ScoreReport& report, const fs::path& folder);

}  // namespace vmla
