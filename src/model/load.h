// From a directory to a model in memory, and the checks on the way.
#pragma once

#include <torch/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/family.h"
#include "model/rope_dims.h"
#include "model/vlm.h"

namespace vmla {

struct LoadOptions {
  at::Device device = at::kCPU;
  std::optional<at::ScalarType> dtype;  // default: the checkpoint's
  RopeDimsSource rope;
};

// What a checkpoint lacks, has too much of or has in another shape, one line each. Unneeded but
// harmless tensors (rotary inv_freq buffers, position_ids, a tied lm_head) are not reported.
std::vector<std::string> compare_with_specs(const Checkpoint& checkpoint,
                                            const std::vector<TensorSpec>& specs);

// Errors: Checkpoint, all problems of compare_with_specs in one message.
void require_specs(const Checkpoint& checkpoint, const std::vector<TensorSpec>& specs);

// The most common floating dtype of the weights.
at::ScalarType checkpoint_dtype(const Checkpoint& checkpoint);

// Mixed dtypes are fine (the Python original writes kv_proj in fp32 beside bf16): all is cast to
// options.dtype. Errors: Config, Unsupported, Checkpoint (all missing, unexpected and misshaped
// names in one message), Device.
std::unique_ptr<Vlm> load_vlm(const Checkpoint& checkpoint, const LoadOptions& options = {});
std::unique_ptr<Vlm> load_vlm(const fs::path& dir, const LoadOptions& options = {});

// "auto" | "cpu" | "cuda" | "cuda:1". Errors: Usage, Device.
at::Device parse_device(const std::string& name);

}  // namespace vmla
