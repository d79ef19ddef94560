// One model on one benchmark: ask, write down, score.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/vqa_sample.h"
#include "dist/process_group.h"
#include "eval/answer_runner.h"
#include "eval/benchmark_prompt.h"
#include "eval/question_problem.h"
#include "eval/score.h"

namespace vmla {

enum class Subset {
  Random,  // a seeded choice; MME's pairs stay whole
  First,   // as the Python original takes it
};

struct EvalRunRequest {
  Benchmark benchmark = Benchmark::Vqav2;
  std::vector<VqaSample> samples;
  fs::path image_root;
  PromptVariant prompt = PromptVariant::LlavaHf;
  bool with_ocr = false;  // TextVQA
  std::int64_t max_samples = -1;
  Subset subset = Subset::Random;
  std::uint64_t subset_seed = 42;
  fs::path output_dir;
  ScoreOptions score;
  AnswerRunnerOptions runner;
  bool overwrite = false;  // what an earlier run left in output_dir goes first
  // What else decides a score (model, dtype, image mode): kept in run.json and results.json.
  Json settings = Json::object();
  // The files that questions, answers and images came from: kept in results.json.
  Json sources = Json::object();
  // Further settings for results.json that are known only at the end (the model's hash); rank 0.
  std::function<Json()> late_settings;
};

struct EvalRunResult {
  ScoreReport report;                     // rank 0
  AnswerTimings timings;                  // of all ranks together
  std::vector<QuestionProblem> problems;  // samples without an answer; rank 0
  std::int64_t resumed = 0;               // answers that an earlier run had written
  bool cancelled = false;
};

// Writes predictions.jsonl as it goes and, at the end, in the order of the samples with scores;
// results.json and printed.txt beside it. A run that was cut off goes on where it was, on any
// number of ranks, if its run.json says the same settings. Each of several ranks answers every so
// many-th batch into a file of its own; rank 0 reads them all. Questions without answers are not
// scored. Errors: Usage (another run's directory), Io, Config, Device (a rank is gone).
EvalRunResult run_benchmark(const Vlm& model,
                            const Processor& processor,
                            EvalRunRequest request,
                            const std::atomic<bool>* cancel = nullptr,
                            ProcessGroup* ranks = nullptr);

// A seeded random choice of count samples in their own order; samples of one image pair (MME) stay
// together.
std::vector<VqaSample> random_subset(std::vector<VqaSample> samples,
                                     Benchmark benchmark,
                                     std::int64_t count,
                                     std::uint64_t seed);

// The first count samples, pairs whole as above.
std::vector<VqaSample> first_subset(std::vector<VqaSample> samples,
                                    Benchmark benchmark,
                                    std::int64_t count);

}  // namespace vmla
