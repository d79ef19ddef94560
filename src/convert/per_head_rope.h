// Which pairs of each head keep their rotation, by the logit error that losing the others costs.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace vmla {

struct PairSelection {
  at::Tensor kept;  // int64 [K, R], as kept_rope_dims gives them
  at::Tensor fold;  // [H, D/2, 2]: alpha, beta of each query head's pairs; 1, 0 where kept
  at::Tensor lost;  // [H], the score's variance under attention that stays lost
  at::Tensor all;   // [H], that of a head without rotation (but with the fold)
};

// Greedy: the pair whose rotation saves most is kept next, all folds of the others being fitted
// anew together (the pairs' errors add up in one score). A KV head's queries choose together,
// weighed by sensitivity [H]. pairs [H, 3*D/2, 3*D/2] as in AttentionMoments; fold: else the others
// stay at angle 0.
PairSelection select_pairs(const at::Tensor& pairs,
                           const at::Tensor& sensitivity,
                           std::int64_t kv_heads,
                           std::int64_t rope_dim,
                           bool fold);

}  // namespace vmla
