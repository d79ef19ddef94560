// Two runs on the same questions: what the second gained or lost.
#pragma once

#include "base/files.h"
#include "base/json.h"
#include "eval/statistics.h"

namespace vmla {

// a, b: predictions.jsonl. The questions that both have are compared pair by pair:
//   {"metrics": {variant: {a, b, difference, ci95, mcnemar: {both, only_a, only_b, neither,
//                                                            p_exact, p_mid}}},
//    "counts": {compared, only_in_a, only_in_b}}
// a, b, difference (b - a) and its interval are means of the samples' scores in percent; a sample
// counts as right for McNemar's test from 0.5 on. Errors: ErrorKind::Config for lines without
// question_id and scores, for a question that appears twice, and where no question and variant is
// common.
Json compare_predictions(const fs::path& a, const fs::path& b, const BootstrapOptions& bootstrap);

}  // namespace vmla
