// What results.json says of a run besides its scores.
#pragma once

#include <string>
#include <vector>

#include "eval/answer_runner.h"
#include "eval/benchmark_prompt.h"
#include "eval/question_problem.h"

namespace vmla {

// [{"question_id", "reason"}]
Json problems_json(const std::vector<QuestionProblem>& problems);
Json timings_json(const AnswerTimings& timings);

// The whole prompt with {question}, {hint}, {choice} and {ocr} where a sample's own words stand.
std::string prompt_template(Benchmark benchmark, PromptVariant variant, bool with_ocr);

// {"attention_path", "cache", "kv_cache_dtype", "rope_cache_dtype"}
Json session_json(const SessionOptions& session);

}  // namespace vmla
