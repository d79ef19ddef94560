// One layer's conversion into the Python original's layout, by the same closed forms.
#pragma once

#include <cstdint>
#include <map>

#include "convert/per_head_rope.h"
#include "convert/shared_layer.h"
#include "nn/mla_shape.h"

namespace vmla {

struct PerHeadLayer {
  MlaShape shape;
  at::Tensor kept;           // int64 [K, R]
  AttentionWeights weights;  // of MlaAttention, double; the fold is in q_proj; o_proj as it was
  LostShares lost;
};

class PerHeadLayerFactory {
 public:
  PerHeadLayerFactory(const SourceAttention& source,
                      const AttentionMoments& moments,
                      const RecipeSteps& steps);

  // latent_dim at most E.
  PerHeadLayer make(std::int64_t rope_dim, std::int64_t latent_dim) const;
  // What these widths lose, as a share of what can be lost.
  double loss(std::int64_t rope_dim, std::int64_t latent_dim) const;

 private:
  PairSelection select(std::int64_t rope_dim) const;
  LatentFactorization factorization(const PairSelection& selection) const;
  double cost(const at::Tensor& variance) const;

  SourceAttention source_;
  AttentionMoments moments_;
  RecipeSteps steps_;
};

}  // namespace vmla
