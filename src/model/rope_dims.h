// The kept rotary dimensions of each layer of a converted model, wherever its ranks are to be
// found.
#pragma once

#include <torch/types.h>

#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/config.h"
#include "model/rope_ranks.h"
#include "nn/kept_rope_dims.h"

namespace vmla {

// One int64 [K, R] a layer; for the layout "shared" the components' frequencies, int64 [n], which
// are the config's. For rank-based selections the ranks are looked for in this order:
// source.qk_tensor_path, the model's own rope_ranks.pth, mha2mla.qk_tensor_path (relative to the
// model, then to the working directory), and last the rows of k_r_proj in source.source_model's
// k_proj. Errors: ErrorKind::Checkpoint naming the file that is gone and the two flags that repair
// it.
std::vector<at::Tensor> load_rope_dims(const Checkpoint& checkpoint,
                                       const ModelConfig& config,
                                       const RopeDimsSource& source);

// int64 [n] a layer of the layout "shared".
std::vector<at::Tensor> shared_frequencies(const MlaConfig& mla);

}  // namespace vmla
