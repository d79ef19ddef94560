// CLIP's vision transformer, up to the deepest layer whose features are used.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "nn/layers.h"

namespace vmla {

struct ClipEncoderLayer {
  Linear q_proj, k_proj, v_proj, out_proj;
  LayerNorm layer_norm1, layer_norm2;
  Linear fc1, fc2;
};

class ClipVisionTower {
 public:
  // layers: how many encoder layers are built.
  ClipVisionTower(const VisionConfig& config, std::int64_t layers);

  // pixels [I, 3, H, W] -> hidden_states[0..layers], each [I, 1 + P, E_v]; 0 is the embedding after
  // pre_layrnorm.
  std::vector<at::Tensor> forward(const at::Tensor& pixels) const;
  void collect(const std::string& prefix, ParameterList& out);

 private:
  at::Tensor encode(const ClipEncoderLayer& layer, const at::Tensor& hidden) const;
  VisionConfig config_;
  at::Tensor class_embedding_;     // [E_v]
  at::Tensor patch_embedding_;     // [E_v, 3, patch, patch]
  at::Tensor position_embedding_;  // [1 + P, E_v]
  LayerNorm pre_layrnorm_;
  std::vector<ClipEncoderLayer> layers_;
};

}  // namespace vmla
