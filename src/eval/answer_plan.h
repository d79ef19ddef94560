// Which questions are answered together.
#pragma once

#include <cstdint>
#include <vector>

#include "eval/answer_runner.h"

namespace vmla {

struct PlannedQuestion {
  std::size_t request = 0;        // index into the requests
  std::vector<std::int64_t> ids;  // the whole prompt, image tokens expanded
};

// The questions of one image (or one text-only question); the first `prefix` ids are the same in
// all of them.
struct QuestionGroup {
  ImageSource image;
  std::size_t prefix = 0;
  std::vector<PlannedQuestion> questions;

  std::size_t longest_suffix() const;
};

// Groups of one batch have equal prefix lengths.
struct AnswerBatch {
  std::vector<QuestionGroup> groups;
  std::int64_t questions() const;
};

// Prompt to ids with each <image> expanded. Errors: ErrorKind::Usage when a request with an image
// has no <image>.
std::vector<AnswerBatch> plan_batches(const std::vector<AnswerRequest>& requests,
                                      const Processor& processor,
                                      std::int64_t image_token_id,
                                      std::int64_t batch_size,
                                      bool share_prefix);

// Those whose number is rank modulo ranks.
std::vector<AnswerBatch> batches_of_rank(std::vector<AnswerBatch> all,
                                         std::int64_t rank,
                                         std::int64_t ranks);

}  // namespace vmla
