// Two runs on the same questions: what the second gained or lost.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "data/vqa_sample.h"
#include "eval/statistics.h"

namespace vmla {

// A question that both have.
struct ComparedSample {
  QuestionId id;
  std::string category, question;  // where the files give them
  std::string answer_a, answer_b;
  std::vector<double> scores_a, scores_b;  // by variant
};

struct Comparison {
  std::vector<std::string> variants;  // that both have, the headline first
  std::vector<ComparedSample> samples;
  // {"metrics": {variant: {a, b, difference, ci95, mcnemar: {both, only_a, only_b, neither,
  //                                                          p_exact, p_mid}}},
  //  "counts": {compared, only_in_a, only_in_b}}
  Json report;
};

// a, b: predictions.jsonl. a, b, difference (b - a) and its interval are means of the samples'
// scores in percent; a sample counts as right for McNemar's test from 0.5 on. Errors:
// ErrorKind::Config for lines without question_id and scores, for a question that appears twice,
// and where no question and variant is common.
Comparison compare_predictions(const fs::path& a,
                               const fs::path& b,
                               const BootstrapOptions& bootstrap);

}  // namespace vmla
