#include "convert/shared_layer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "convert/tail_energy.h"

namespace vmla {

RopeLayout parse_rope_layout(const std::string& name) {
  if (name == "shared") return RopeLayout::Shared;
  if (name == "per_head") return RopeLayout::PerHead;
  fail(ErrorKind::Usage, "rope_layout: expected shared or per_head, got {}", name);
}

LatentMetric parse_latent_metric(const std::string& name) {
  if (name == "svd") return LatentMetric::Svd;
  if (name == "whitened") return LatentMetric::Whitened;
  if (name == "attention") return LatentMetric::Attention;
  fail(ErrorKind::Usage, "factorization: expected svd, whitened or attention, got {}", name);
}

at::Tensor head_weights(const AttentionMoments& moments, const RecipeSteps& steps) {
  if (steps.logit_metric) return moments.sensitivity;
  return moments.sensitivity.mean().expand_as(moments.sensitivity).contiguous();
}

at::Tensor latent_inputs(const AttentionMoments& moments,
                         std::int64_t hidden,
                         const RecipeSteps& steps) {
  if (steps.metric == LatentMetric::Svd) return at::eye(hidden, moments.inputs.options());
  return moments.inputs.slice(0, 0, hidden).slice(1, 0, hidden).contiguous();
}

namespace {

// [H, …] -> [K, …], summed over each KV head's queries.
at::Tensor over_group(const at::Tensor& x, std::int64_t kv_heads) {
  return x.unflatten(0, {kv_heads, -1}).sum(1);
}

RopeFold fold_of(const SourceAttention& source,
                 const AttentionMoments& moments,
                 const RecipeSteps& steps) {
  const std::int64_t kv_heads = source.shape.kv_heads;
  return steps.fold ? fit_rope_fold(moments.pairs, head_weights(moments, steps), kv_heads)
                    : no_rope_fold(moments.pairs, kv_heads);
}

// Errors count in squared output, as the latent's do: kappa times the variance of score / sqrt(D).
at::Tensor pair_cost(const SourceAttention& source,
                     const AttentionMoments& moments,
                     const RecipeSteps& steps,
                     const RopeFold& fold) {
  return over_group(fold.residual * head_weights(moments, steps).unsqueeze(1),
                    source.shape.kv_heads) /
         static_cast<double>(source.shape.head_dim);
}

LatentProblem problem_without_keys(const SourceAttention& source,
                                   const AttentionMoments& moments,
                                   const RecipeSteps& steps) {
  const AttentionShape& a = source.shape;
  LatentProblem problem;
  problem.values = source.v.to(at::kDouble);
  problem.inputs = latent_inputs(moments, a.hidden, steps);
  if (steps.metric == LatentMetric::Attention) {
    const at::Tensor weight =
        head_weights(moments, steps).view({-1, 1, 1}) / static_cast<double>(a.head_dim);
    // The fold is in the keys already (fold_into_keys), so the plain query's moments count.
    problem.key_metric = over_group(moments.queries * weight, a.kv_heads);
    problem.value_metric = over_group(output_metric(source.o, a.heads), a.kv_heads);
  } else {
    problem.key_metric = problem.value_metric =
        at::eye(a.head_dim, problem.values.options()).expand({a.kv_heads, -1, -1});
  }
  return problem;
}

double share(double part, double whole) {
  return whole > 0 ? part / whole : 0.0;
}

}  // namespace

SharedLayerFactory::SharedLayerFactory(const SourceAttention& source,
                                       const AttentionMoments& moments,
                                       const RecipeSteps& steps)
    : source_(source),
      steps_(steps),
      fold_(fold_of(source, moments, steps)),
      components_({source.k, source.k_bias, source.shape.kv_heads},
                  moments.inputs,
                  pair_cost(source, moments, steps, fold_)),
      space_(problem_without_keys(source, moments, steps)) {}

at::Tensor SharedLayerFactory::latent_keys(const at::Tensor& rest) const {
  return fold_into_keys(rest, fold_.fold);
}

std::int64_t SharedLayerFactory::best_components(std::int64_t budget) const {
  check(budget >= 3,
        ErrorKind::Usage,
        "kv_budget: expected at least 3 numbers a token and layer, got {}",
        budget);
  // At least one component and one latent number; no more latent than it can use.
  const std::int64_t least = std::max<std::int64_t>(1, (budget - largest_latent() + 1) / 2);
  const std::int64_t most = std::min(largest_components(), (budget - 1) / 2);
  if (least >= most) return most;
  std::map<std::int64_t, double> losses;
  TailEnergy tail(std::min(budget - 2 * least, largest_latent()));
  const auto loss = [&](std::int64_t n) {
    const auto it = losses.find(n);
    if (it != losses.end()) return it->second;
    const at::Tensor rest = components_.select(n, source_.shape.heads).rest;
    const std::int64_t latent = std::min(budget - 2 * n, largest_latent());
    return losses[n] = steps_.split_gamma * components_.dropped(n) +
                       tail.behind(space_.gram(latent_keys(rest)), latent);
  };
  // A coarse look, then halving steps around the best: the loss is flat near its minimum.
  constexpr std::int64_t kCoarse = 4;
  std::int64_t best = least;
  for (std::int64_t i = 1; i <= kCoarse; ++i) {
    const std::int64_t n = least + (most - least) * i / kCoarse;
    if (loss(n) < loss(best)) best = n;
  }
  const std::int64_t precision = std::max<std::int64_t>(1, (most - least) / 64);
  for (std::int64_t step = std::max(precision, (most - least) / (2 * kCoarse)); step >= precision;
       step /= 2) {
    for (const std::int64_t n : {best - step, best + step}) {
      if (n >= least && n <= most && loss(n) < loss(best)) best = n;
    }
  }
  return best;
}

SharedLayer SharedLayerFactory::make(std::int64_t components, std::int64_t latent_dim) const {
  const SharedRopeComponents::Selection rope = components_.select(components, source_.shape.heads);
  const LatentFactorization latent(space_, latent_keys(rope.rest));
  const LatentFactorization::Factors factors = latent.take(latent_dim);
  SharedLayer out;
  out.shape = {source_.shape, components, latent_dim};
  out.frequencies = rope.frequencies;
  out.weights = {{"q_proj.weight", source_.q},
                 {"q_proj.bias", source_.q_bias},
                 {"q_mix.weight", rope.mix},
                 {"k_r_proj.weight", rope.weight},
                 {"k_r_proj.bias", rope.bias},
                 {"kv_proj.down_kv.weight", factors.down},
                 {"kv_proj.up_k.weight", factors.up_k},
                 {"kv_proj.up_v.weight", factors.up_v},
                 {"kv_proj.up_v.bias", source_.v_bias},
                 {"o_proj.weight", source_.o},
                 {"o_proj.bias", source_.o_bias}};
  out.lost = {share(components_.dropped(components), components_.dropped(0)),
              share(latent.dropped(latent_dim), latent.dropped(0))};
  return out;
}

}  // namespace vmla
