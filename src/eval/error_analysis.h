// What a model gets wrong, for reading.
#pragma once

#include <string>

#include "eval/score.h"

namespace vmla {

// By the headline's scores; a question is wrong where nobody gave the answer:
//   {"wrong", "scored", "per_answer_type" | "per_question_type" | "per_category":
//    {name: {questions, wrong}}, "wrong_answers": [{prediction, count}],
//    "confusions": [{expected, prediction, count}],
//    "examples": [{question_id, question, prediction, expected: […]}]}
// The lists are short, the most frequent first; expected is what most people said.
Json analyze_errors(const ScoreReport& report);
std::string error_text(const Json& analysis);

}  // namespace vmla
