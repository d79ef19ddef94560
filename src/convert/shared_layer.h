// One layer's conversion into the layout "shared", by closed forms.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

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

// Of layers' budgets, the mean being given: wide layers are made of rows that tensor cores and
// decode kernels take at full speed.
std::int64_t budget_step(std::int64_t mean_budget);

// n of the grid that a search walks on: 1, 2, 3, 4, 6, 8, 11, … (times the root of 2), up to most.
std::vector<std::int64_t> component_grid(std::int64_t most);

class SharedLayerFactory {
 public:
  SharedLayerFactory(const SourceAttention& source,
                     const AttentionMoments& moments,
                     const RecipeSteps& steps,
                     std::int64_t walks_from = 1024);

  std::int64_t largest_components() const { return components_.size(); }
  std::int64_t largest_latent() const { return source_.shape.hidden; }
  // What is lost where n components and as much latent as the budget leaves are kept.
  double loss(std::int64_t budget, std::int64_t components) const;
  // The n in [1, …] with 2n + C = budget that loses least. Below `walks_from` hidden dims all of
  // the grid is looked at; else the way down from start (0: by the budget) is walked. Errors: Usage
  // below 3 numbers a token.
  std::int64_t best_components(std::int64_t budget, std::int64_t start = 0) const;
  // latent_dim at most largest_latent().
  SharedLayer make(std::int64_t components, std::int64_t latent_dim) const;
  // A layer that is only judged, of this budget: where a search walks, the nearest n to components
  // whose factorisation one has made will do.
  SharedLayer make_to_judge(std::int64_t components, std::int64_t budget) const;

 private:
  struct Range {
    std::int64_t least = 0, most = 0;  // of n
  };
  Range range_of(std::int64_t budget) const;
  std::int64_t latent_of(std::int64_t budget, std::int64_t components) const;
  bool walks() const { return source_.shape.hidden >= walks_from_; }
  const LatentFactorization& factorization(std::int64_t components) const;
  SharedLayer make_from(const LatentFactorization& latent,
                        std::int64_t components,
                        std::int64_t latent_dim) const;
  // As loss, from the factorisations of a and b around n.
  double loss_between(std::int64_t budget,
                      std::int64_t components,
                      std::int64_t a,
                      std::int64_t b) const;
  at::Tensor latent_keys(const at::Tensor& rest) const;

  SourceAttention source_;
  RecipeSteps steps_;
  std::int64_t walks_from_;
  RopeFold fold_;
  SharedRopeComponents components_;
  LatentSpace space_;
  // By n, of float32 where a search walks. They do not depend on the budget, so all budgets of a
  // layer share them.
  mutable std::map<std::int64_t, LatentFactorization> seen_;
};

// Sensitivities as the steps want them: kappa, or its mean for all heads.
at::Tensor head_weights(const AttentionMoments& moments, const RecipeSteps& steps);
// Cx for the latent: without the bias's row and column; the identity for LatentMetric::Svd.
at::Tensor latent_inputs(const AttentionMoments& moments,
                         std::int64_t hidden,
                         const RecipeSteps& steps);

}  // namespace vmla
