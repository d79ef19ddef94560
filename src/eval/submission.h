// Files that test servers and official scripts take.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "eval/predictions.h"

namespace vmla {

// By benchmark, as json.dump writes it:
//   vqav2, textvqa  [{"question_id", "answer"}], answers through the EvalAI processor, as the
//                   server compares; "" where there is no prediction, since it wants every question
//   vizwiz          [{"image", "answer"}], the same
//   gqa             [{"questionId", "prediction"}], lower case without final periods
//   pope            lines {"question_id", "question", "text", "answer", "category"} in the order of
//                   the questions, for LLaVA's script and the benchmark's
// Errors: ErrorKind::Unsupported for the others; ErrorKind::Config where an answer is missing that
// the benchmark has no filler for.
std::string submission(Benchmark benchmark,
                       const std::vector<VqaSample>& samples,
                       const MatchedPredictions& predictions);

// MME's own tool takes a folder: SUB-TASK.txt with lines image, question, Yes or No, answer between
// tabs, here by file name. Errors: ErrorKind::Config where an answer is missing.
std::map<std::string, std::string> mme_submission(const std::vector<VqaSample>& samples,
                                                  const MatchedPredictions& predictions);

}  // namespace vmla
