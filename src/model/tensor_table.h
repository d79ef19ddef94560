// Names and shapes of all tensors, listed from configs alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/tensor_info.h"
#include "model/config.h"

namespace vmla {

void add_linear(std::vector<TensorSpec>& specs,
                const std::string& name,
                std::int64_t out,
                std::int64_t in,
                bool bias);
// prefix "vision_tower.vision_model."; all encoder layers and post_layernorm, whether a model needs
// them or not.
std::vector<TensorSpec> clip_tensor_specs(const VisionConfig& config, const std::string& prefix);
// The projections under one layer's self_attn; prefix ends with "self_attn.".
std::vector<TensorSpec> mha_tensor_specs(const AttentionShape& shape, const std::string& prefix);
std::vector<TensorSpec> mla_tensor_specs(const MlaShape& shape, const std::string& prefix);
std::vector<TensorSpec> shared_mla_tensor_specs(const SharedMlaShape& shape,
                                                const std::string& prefix);
// prefix "language_model."; lm_head is left out when it is tied.
std::vector<TensorSpec> decoder_tensor_specs(const TextConfig& config,
                                             const std::optional<MlaConfig>& mla,
                                             const std::string& prefix);

}  // namespace vmla
