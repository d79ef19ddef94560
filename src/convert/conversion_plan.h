// All that a conversion decides before it touches a weight.
#pragma once

#include <torch/types.h>

#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_writer.h"
#include "convert/converter.h"
#include "model/config.h"

namespace vmla {

// Of the rank file inside a converted directory.
inline constexpr const char* kRopeRanksFile = "rope_ranks.pth";

struct ConversionPlan {
  ModelConfig source;
  ModelConfig target;
  Json config;                     // of the output; its vlm_mla lacks the report
  at::Tensor ranks;                // uint8 [L, K, D], K after repetition; undefined unless needed
  std::int64_t repeat = 1;         // how many times each K and V head stands in the output
  MlaShape shape;                  // of a layer that has latents of low_rank * K
  std::vector<MlaShape> shapes;    // of each layer of the output
  bool from_partial_rope = false;  // the source's rows are those of the converted layout already
  RopeSelection rope;              // the output's
  at::ScalarType dtype = at::kFloat;  // of the output
  std::vector<TensorSpec> specs;      // of the output, canonical names
};

// Checks the flags against the model, the rank file and the source's tensors. computed_ranks: uint8
// [L, K, D] of the source's heads, for a rank-based selection without a file; else undefined.
// Errors: as convert_checkpoint's.
ConversionPlan plan_conversion(const Checkpoint& source,
                               const ConversionOptions& options,
                               const at::Tensor& computed_ranks = {});
// Gives each layer latents of its own.
void set_latents(ConversionPlan& plan, const std::vector<LayerLatents>& latents);

}  // namespace vmla
