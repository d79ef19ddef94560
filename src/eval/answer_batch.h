// A planned batch on its way through a model: the rows that can be asked, and their prefill.
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/session.h"
#include "eval/answer_plan.h"
#include "eval/image_loader.h"

namespace vmla {

// The questions of a batch side by side. Points into the batch.
struct BatchRows {
  std::vector<const QuestionGroup*> groups;  // whose image was read, or that have none
  std::vector<std::int64_t> group_of_row;
  std::vector<const PlannedQuestion*> questions;  // one a row
  std::vector<at::Tensor> pixels;                 // [3, H, W] each
  // Those that cannot be asked, and why.
  std::vector<std::pair<const PlannedQuestion*, std::string>> failures;
};

BatchRows readable_rows(const AnswerBatch& batch, const BatchImages& images);

struct Prefill {
  Session session;
  at::Tensor logits;  // [B, V] fp32, of each row's last token
  std::int64_t prefix_tokens = 0;
  std::int64_t suffix_tokens = 0;
};

// Images and prefixes go through the model once a group, suffixes once a row. Expects at least one
// row. max_new_tokens: what will be decoded, so that room for it is made at once.
Prefill prefill_rows(const Vlm& model,
                     const BatchRows& rows,
                     const SessionOptions& options,
                     std::int64_t max_new_tokens);

}  // namespace vmla
