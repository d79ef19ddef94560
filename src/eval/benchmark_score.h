// Each benchmark's metrics over its questions and the texts that answer them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "data/vqa_sample.h"
#include "eval/statistics.h"
#include "eval/vqa_accuracy.h"

namespace vmla {

// A question and what was predicted for it; nothing counts as wrong.
struct AnsweredSample {
  const VqaSample* sample = nullptr;
  std::optional<std::string> prediction;
};
using AnsweredSamples = std::vector<AnsweredSample>;

struct BenchmarkScore {
  // Per-sample scores in [0, 1] by variant; all have one value for each sample.
  std::vector<std::string> variants;
  std::vector<std::vector<double>> scores;  // [variants][samples]
  // {variant: {overall, ci95, …}}; overall is what papers report, in percent or points.
  Json metrics = Json::object();
  // What the benchmark's own script prints.
  std::string printed;
};

// All expect at least one sample, each with its answers.
BenchmarkScore score_vqa(const AnsweredSamples& samples,
                         VqaRules rules,
                         Unanimous unanimous,
                         const BootstrapOptions& bootstrap);
// official: LLaVA's way to GQA's own accuracy. lmms_eval: case and ASCII marks do not count. exact:
// GQA's own accuracy of the text as it is. all: also the questions outside the balanced set, which
// the others may entail; consistency is scored where every question that a rightly answered one
// entails is among them. choices: the file of valid and plausible answers, or empty. Errors:
// ErrorKind::Config for a choices file without one of the questions.
BenchmarkScore score_gqa(const AnsweredSamples& samples,
                         const AnsweredSamples& all,
                         const fs::path& choices,
                         const BootstrapOptions& bootstrap);
// official: LLaVA's script, overall is the mean of the categories' F1. strict: lmms-eval's, which
// takes only "yes" and "no" for answers and counts the labels in its yes ratio.
BenchmarkScore score_pope(const AnsweredSamples& samples, const BootstrapOptions& bootstrap);
// official: LLaVA's script; overall is the accuracy on questions with an image. lmms_eval: its own
// parser, on the same questions.
BenchmarkScore score_scienceqa(const AnsweredSamples& samples, const BootstrapOptions& bootstrap);
// official: the benchmark's script; overall is perception. lmms_eval: its own parser.
// Errors: ErrorKind::Config where an image has other than two questions.
BenchmarkScore score_mme(const AnsweredSamples& samples, const BootstrapOptions& bootstrap);

// What the scripts take for the answer in a text.
// "no" where the first sentence has the word no, No or not; else "yes", even of an empty text.
std::string pope_answer(std::string_view text);
// "yes", "no" or "other".
std::string mme_label(std::string_view text);
std::string mme_label_lmms(std::string_view text);
// A letter, or "FAILED".
std::string scienceqa_letter(std::string_view text);
bool scienceqa_equal_lmms(std::string_view text, std::string_view letter);
std::string gqa_answer(std::string_view text);
std::string gqa_answer_lmms(std::string_view text);

// [low, high], scaled and rounded to two digits
Json interval_json(const Interval& interval, double scale = 1.0);
double mean(const std::vector<double>& values);

}  // namespace vmla
