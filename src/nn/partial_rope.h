// What partial RoPE makes of the projections of a converted layer.
#pragma once

#include <torch/types.h>

#include "nn/mla_shape.h"

namespace vmla {

struct PartialRope {
  at::Tensor q_rope;  // [B, S, H, R], rotated
  at::Tensor q_nope;  // [B, S, H, N], as it was
  at::Tensor k_rope;  // [B, S, K, R], rotated
};

// q [B, S, H*D], all heads' kept rows before all others; k [B, S, K*R]; cos, sin [B or 1, S, D];
// dims int64 [K * R]: which of the head's rotary dimensions each kept row is.
PartialRope partial_rope(const at::Tensor& q,
                         const at::Tensor& k,
                         const at::Tensor& cos,
                         const at::Tensor& sin,
                         const at::Tensor& dims,
                         const MlaShape& shape);

}  // namespace vmla
