// What one model does differently from another on the same questions and text, without labels.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/vqa_sample.h"
#include "dist/process_group.h"
#include "engine/loaded_model.h"
#include "eval/agreement_log.h"
#include "eval/answer_runner.h"
#include "eval/benchmark_prompt.h"

namespace vmla {

struct AgreementRequest {
  std::vector<VqaSample> samples;  // may be empty where there is a text
  Benchmark wording = Benchmark::Vqav2;
  PromptVariant prompt = PromptVariant::LlavaHf;
  bool with_ocr = false;
  fs::path image_root;
  fs::path text;  // empty: none
  std::int64_t window = 512;
  fs::path output_dir;
  // session is the model's; the reference runs from its own plain cache. end_ids are each model's.
  AnswerRunnerOptions runner;
  bool overwrite = false;          // what an earlier run left in output_dir goes first
  Json settings = Json::object();  // what else decides the result: kept in run.json, results.json
};

// Over all windows of a text.
struct TextAgreement {
  Divergence divergence;
  double reference_perplexity = 0.0;
  double perplexity = 0.0;
  std::int64_t windows = 0;
};

struct AgreementResult {
  RecordedAgreement recorded;  // rank 0
  std::optional<TextAgreement> text;
  std::int64_t resumed = 0;  // questions that an earlier run had compared
  double seconds = 0.0;
  bool cancelled = false;

  // {"metrics": {kl: {mean, median, p95, max}, top1_agreement, answer_agreement},
  //  "text": {…}, "counts", "problems"}; kl over all positions, agreements in percent.
  Json to_json() const;
};

// Both models answer greedily, a batch of questions after the other. Writes predictions.jsonl (see
// agreement_log.h) as it goes; a run that was cut off goes on where it was, on any number of ranks.
// Each of several ranks compares every so many-th batch, of questions into a file of its own, which
// rank 0 gathers. Errors: ErrorKind::Config for models whose tokens differ and where no question
// can be asked; Usage (another run's directory); Io; Device (a rank is gone).
AgreementResult measure_agreement(const LoadedModel& reference,
                                  const LoadedModel& model,
                                  const AgreementRequest& request,
                                  const std::atomic<bool>* cancel = nullptr,
                                  ProcessGroup* ranks = nullptr);

}  // namespace vmla
