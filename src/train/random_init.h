// Weights of a model that is trained from scratch.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/checkpoint_writer.h"
#include "model/config.h"

namespace vmla {

// Distributions of transformers' _init_weights: normal with text_config.initializer_range (0.02)
// for matrices and embeddings, 1 for norms, 0 for biases and the padding row; in the vision tower
// CLIP's own, narrower ones (class embedding, q, k, v, out, fc1, fc2). fp32 on the CPU, the same
// for a seed on every machine of one kind.
std::map<std::string, at::Tensor> random_weights(const std::vector<TensorSpec>& specs,
                                                 const ModelConfig& model,
                                                 const Json& config,
                                                 std::uint64_t seed);

}  // namespace vmla
