// Tokenised samples to the tensors of one training batch.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "data/conversation_tokens.h"

namespace vmla {

struct TrainExample {
  TokenizedSample tokens;
  at::Tensor pixel_values;  // [3, H, W] float32; undefined for text-only samples
};

struct TrainBatch {
  std::vector<std::string> ids;   // of the samples, in row order
  at::Tensor input_ids;           // [B, S] int64, right-padded
  at::Tensor labels;              // [B, S] int64, kIgnoredLabel where nothing is trained
  at::Tensor key_mask;            // [B, S] bool, true at tokens
  at::Tensor pixel_values;        // [I, 3, H, W] float32, images in row order; undefined when I = 0
  std::int64_t label_tokens = 0;  // labels that are trained
};

// Without examples: one row of one padding token without label (ids is empty), so that a rank whose
// samples all had problems can still take part in the step. Errors: Config when the images differ
// in size.
TrainBatch collate(const std::vector<TrainExample>& examples, std::int64_t pad_id);

}  // namespace vmla
