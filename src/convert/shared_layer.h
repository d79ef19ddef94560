// One layer's conversion into the layout "shared", by closed forms.
#pragma once

#include <cstdint>
#include <optional>

#include "convert/attention_moments.h"
#include "convert/attention_weights.h"
#include "convert/metric_low_rank.h"
#include "convert/recipe_steps.h"
#include "convert/rope_fold.h"
#include "convert/shared_rope.h"
#include "nn/shared_mla_shape.h"

namespace vmla {

// What is lost, as shares of the whole.
struct LostShares {
  double rope = 0.0;    // of the cost of losing all rotation
  double latent = 0.0;  // of the latent's energy
};

struct SharedLayer {
  SharedMlaShape shape;
  at::Tensor frequencies;    // int64 [n]
  AttentionWeights weights;  // of SharedMlaAttention, double; o_proj as it was
  LostShares lost;
};

class SharedLayerFactory {
 public:
  SharedLayerFactory(const SourceAttention& source,
                     const AttentionMoments& moments,
                     const RecipeSteps& steps);

  std::int64_t largest_components() const { return components_.size(); }
  std::int64_t largest_latent() const { return source_.shape.hidden; }
  // The n in [1, …] with 2n + C = budget that loses least. Errors: Usage below 3 numbers a token.
  std::int64_t best_components(std::int64_t budget) const;
  // latent_dim at most largest_latent().
  SharedLayer make(std::int64_t components, std::int64_t latent_dim) const;

 private:
  at::Tensor latent_keys(const at::Tensor& rest) const;

  SourceAttention source_;
  RecipeSteps steps_;
  RopeFold fold_;
  SharedRopeComponents components_;
  LatentSpace space_;
};

// Sensitivities as the steps want them: kappa, or its mean for all heads.
at::Tensor head_weights(const AttentionMoments& moments, const RecipeSteps& steps);
// Cx for the latent: without the bias's row and column; the identity for LatentMetric::Svd.
at::Tensor latent_inputs(const AttentionMoments& moments,
                         std::int64_t hidden,
                         const RecipeSteps& steps);

}  // namespace vmla
