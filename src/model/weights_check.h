// What is in a checkpoint's headers against what its config says.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint_headers.h"

namespace vmla {

// What a checkpoint lacks, has too much of or has in another shape, one line each. Unneeded but
// harmless tensors (rotary inv_freq buffers, position_ids, a tied lm_head) are not reported.
std::vector<std::string> compare_with_specs(const CheckpointHeaders& checkpoint,
                                            const std::vector<TensorSpec>& specs);

// Errors: Checkpoint, all problems of compare_with_specs in one message.
void require_specs(const CheckpointHeaders& checkpoint, const std::vector<TensorSpec>& specs);

// The most common floating dtype of the weights.
at::ScalarType checkpoint_dtype(const CheckpointHeaders& checkpoint);

}  // namespace vmla
