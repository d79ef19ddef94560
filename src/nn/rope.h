// Rotary position embedding with HF's frequency scalings (transformers/modeling_rope_utils.py).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <utility>

#include "nn/rope_scaling.h"

namespace vmla {

class RotaryEmbedding {
 public:
  RotaryEmbedding() = default;
  // D = head_dim; max_position is max_position_embeddings (used by Dynamic).
  RotaryEmbedding(std::int64_t head_dim,
                  double theta,
                  std::int64_t max_position,
                  RopeScaling scaling);

  // positions int64 [B, S] -> cos, sin [B, S, D] in dtype; the second half repeats the first
  // (rotate-half layout).
  std::pair<at::Tensor, at::Tensor> cos_sin(const at::Tensor& positions,
                                            at::ScalarType dtype) const;

  // Whether a token's angles change as the sequence grows, so that no table can hold them.
  bool depends_on_length() const { return scaling_.kind == RopeScalingKind::Dynamic; }

 private:
  at::Tensor inverse_frequencies(double theta) const;  // fp32 [D/2]
  std::int64_t head_dim_ = 0;
  double theta_ = 10000.0;
  std::int64_t max_position_ = 0;
  RopeScaling scaling_;
  at::Tensor inv_freq_;  // fp32 [D/2], CPU
};

// x [B, S, H, R]; cos, sin broadcastable to it. x*cos + rotate_half(x)*sin.
at::Tensor apply_rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace vmla
