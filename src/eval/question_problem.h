// Why a question has no answer.
#pragma once

#include <string>

#include "data/vqa_sample.h"

namespace vmla {

struct QuestionProblem {
  QuestionId id;
  std::string reason;
};

}  // namespace vmla
