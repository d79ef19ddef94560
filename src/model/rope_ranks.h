// The rank table that a converted model's rope selection needs, wherever it is to be found.
#pragma once

#include <optional>
#include <string>

#include "checkpoint/checkpoint_headers.h"
#include "checkpoint/rank_table.h"
#include "model/config.h"

namespace vmla {

struct RopeDimsSource {
  std::string qk_tensor_path;  // --qk_tensor_path: used before anything else
  std::string source_model;    // --source_model: directory of the unconverted model
};

// Of a rank-based selection: {L, K, D} of the model. Nothing when the file is gone and
// source.source_model stands in for it. Where it is looked for and errors: as load_rope_dims.
std::optional<RankTable> find_rope_ranks(const CheckpointHeaders& checkpoint,
                                         const ModelConfig& config,
                                         const RopeDimsSource& source);

// Throws what load_rope_dims would throw for a model by itself, without tensors.
void check_rope_dims(const CheckpointHeaders& checkpoint, const ModelConfig& config);

}  // namespace vmla
