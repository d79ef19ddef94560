#include "convert/shared_layer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"

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
                                       const RecipeSteps& steps,
                                       std::int64_t walks_from)
    : source_(source),
      steps_(steps),
      walks_from_(walks_from),
      fold_(fold_of(source, moments, steps)),
      components_({source.k, source.k_bias, source.shape.kv_heads},
                  moments.inputs,
                  pair_cost(source, moments, steps, fold_)),
      space_(problem_without_keys(source, moments, steps)) {}

at::Tensor SharedLayerFactory::latent_keys(const at::Tensor& rest) const {
  return fold_into_keys(rest, fold_.fold);
}

constexpr std::int64_t kWideBudget = 256, kStep = 16;

// Of n, so that the latent that a budget in steps leaves is in steps, too.
std::int64_t component_step(std::int64_t budget) {
  return budget >= kWideBudget && budget % kStep == 0 ? kStep / 2 : 1;
}

std::int64_t budget_step(std::int64_t mean_budget) {
  // The least of a layer's budgets is half of the mean.
  return mean_budget >= 2 * kWideBudget ? kStep : 1;
}

std::vector<std::int64_t> component_grid(std::int64_t most) {
  std::vector<std::int64_t> out;
  for (double n = 1.0; std::llround(n) < most; n *= std::sqrt(2.0)) {
    if (out.empty() || std::llround(n) > out.back()) out.push_back(std::llround(n));
  }
  out.push_back(most);
  return out;
}

// At least one component and one latent number; no more latent than it can use.
SharedLayerFactory::Range SharedLayerFactory::range_of(std::int64_t budget) const {
  check(budget >= 3,
        ErrorKind::Usage,
        "kv_budget: expected at least 3 numbers a token and layer, got {}",
        budget);
  const std::int64_t most = std::min(largest_components(), (budget - 1) / 2);
  const std::int64_t least = std::max<std::int64_t>(1, (budget - largest_latent() + 1) / 2);
  const std::int64_t step = component_step(budget);
  const std::int64_t last = most == largest_components() ? most : most - most % step;
  return {std::min((least + step - 1) / step * step, last), last};
}

std::int64_t SharedLayerFactory::latent_of(std::int64_t budget, std::int64_t components) const {
  return std::min(budget - 2 * components, largest_latent());
}

const LatentFactorization& SharedLayerFactory::factorization(std::int64_t components) const {
  const auto it = seen_.find(components);
  if (it != seen_.end()) return it->second;
  const at::Tensor rest = components_.select(components, source_.shape.heads).rest;
  const at::ScalarType eigen = walks() ? at::kFloat : at::kDouble;
  return seen_.emplace(components, LatentFactorization(space_, latent_keys(rest), eigen))
      .first->second;
}

double SharedLayerFactory::loss(std::int64_t budget, std::int64_t components) const {
  return steps_.split_gamma * components_.dropped(components) +
         factorization(components).dropped(latent_of(budget, components));
}

// What a latent of one width loses changes slowly with n: ln of it is taken to be linear.
double SharedLayerFactory::loss_between(std::int64_t budget,
                                        std::int64_t components,
                                        std::int64_t a,
                                        std::int64_t b) const {
  const std::int64_t latent = latent_of(budget, components);
  const auto tail = [&](std::int64_t n) {
    return std::log(std::max(factorization(n).dropped(latent), 1e-300));
  };
  const double place = static_cast<double>(components - a) / static_cast<double>(b - a);
  return steps_.split_gamma * components_.dropped(components) +
         std::exp(tail(a) + (tail(b) - tail(a)) * place);
}

std::int64_t SharedLayerFactory::best_components(std::int64_t budget, std::int64_t start) const {
  const Range range = range_of(budget);
  // One grid for all budgets; a budget's own ends beside it.
  const std::int64_t step = component_step(budget);
  std::vector<std::int64_t> grid{range.least};
  for (const std::int64_t near : component_grid(largest_components())) {
    const std::int64_t n = (near + step / 2) / step * step;
    if (n > grid.back() && n < range.most) grid.push_back(n);
  }
  if (range.most > range.least) grid.push_back(range.most);
  const auto points = static_cast<std::int64_t>(grid.size());
  const auto at = [&](std::int64_t i) { return grid[static_cast<std::size_t>(i)]; };
  std::map<std::int64_t, double> losses;
  const auto loss_at = [&](std::int64_t i) {
    const auto it = losses.find(i);
    return it != losses.end() ? it->second : losses[i] = loss(budget, at(i));
  };
  std::int64_t best = 0;
  if (!walks()) {
    for (std::int64_t i = 1; i < points; ++i) {
      if (loss_at(i) < loss_at(best)) best = i;
    }
  } else {
    const std::int64_t first = start > 0 ? start : budget / 8;
    for (std::int64_t i = 1; i < points; ++i) {
      if (std::abs(at(i) - first) < std::abs(at(best) - first)) best = i;
    }
    // Downhill, a step at a time.
    for (bool moved = true; moved;) {
      moved = false;
      for (const std::int64_t next : {best - 1, best + 1}) {
        if (next < 0 || next >= points || loss_at(next) >= loss_at(best)) continue;
        best = next;
        moved = true;
        break;
      }
    }
  }
  std::int64_t found = at(best);
  double least = loss_at(best);
  for (const std::int64_t side : {best - 1, best}) {
    if (side < 0 || side + 1 >= points) continue;
    for (std::int64_t n = at(side) + step; n < at(side + 1); n += step) {
      const double between = loss_between(budget, n, at(side), at(side + 1));
      if (between >= least) continue;
      least = between;
      found = n;
    }
  }
  return found;
}

SharedLayer SharedLayerFactory::make(std::int64_t components, std::int64_t latent_dim) const {
  if (!walks()) return make_from(factorization(components), components, latent_dim);
  const at::Tensor rest = components_.select(components, source_.shape.heads).rest;
  return make_from(LatentFactorization(space_, latent_keys(rest)), components, latent_dim);
}

SharedLayer SharedLayerFactory::make_to_judge(std::int64_t components, std::int64_t budget) const {
  if (!walks()) return make(components, latent_of(budget, components));
  const Range range = range_of(budget);
  std::int64_t nearest = 0;
  for (const auto& [n, factorization] : seen_) {
    if (n < range.least || n > range.most) continue;
    if (nearest == 0 || std::abs(n - components) < std::abs(nearest - components)) nearest = n;
  }
  if (nearest == 0) nearest = components;
  return make_from(factorization(nearest), nearest, latent_of(budget, nearest));
}

SharedLayer SharedLayerFactory::make_from(const LatentFactorization& latent,
                                          std::int64_t components,
                                          std::int64_t latent_dim) const {
  const SharedRopeComponents::Selection rope = components_.select(components, source_.shape.heads);
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
