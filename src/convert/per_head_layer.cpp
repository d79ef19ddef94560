#include "convert/per_head_layer.h"

#include <ATen/ATen.h>

#include <vector>

#include "nn/kept_rope_dims.h"

namespace vmla {
namespace {

at::Tensor rows_of(const at::Tensor& from, const at::Tensor& rows) {
  return from.defined() ? from.to(at::kDouble).index_select(0, rows) : at::Tensor();
}

// The other dims of each head, ascending: int64 [K, N].
at::Tensor other_dims(const at::Tensor& kept, std::int64_t head_dim) {
  const at::Tensor is_kept =
      at::zeros({kept.size(0), head_dim}, kept.options().dtype(at::kBool)).scatter(1, kept, true);
  return is_kept.logical_not().nonzero().select(1, 1).reshape({kept.size(0), -1});
}

}  // namespace

PerHeadLayerFactory::PerHeadLayerFactory(const SourceAttention& source,
                                         const AttentionMoments& moments,
                                         const RecipeSteps& steps)
    : source_(source), moments_(moments), steps_(steps) {}

PairSelection PerHeadLayerFactory::select(std::int64_t rope_dim) const {
  return select_pairs(moments_.pairs,
                      head_weights(moments_, steps_),
                      source_.shape.kv_heads,
                      rope_dim,
                      steps_.fold);
}

LatentFactorization PerHeadLayerFactory::factorization(const PairSelection& selection) const {
  const AttentionShape& a = source_.shape;
  const at::Tensor others = other_dims(selection.kept.cpu(), a.head_dim).to(source_.k.device());
  const std::int64_t n = others.size(1), group = a.heads / a.kv_heads;
  const at::Tensor base = at::arange(a.kv_heads, others.options()).unsqueeze(1) * a.head_dim;
  LatentProblem problem;
  problem.keys = rows_of(source_.k, (others + base).flatten());
  problem.values = source_.v.to(at::kDouble);
  problem.inputs = latent_inputs(moments_, a.hidden, steps_);
  if (steps_.metric != LatentMetric::Attention) {
    const auto options = problem.values.options();
    problem.key_metric = at::eye(n, options).expand({a.kv_heads, -1, -1});
    problem.value_metric = at::eye(a.head_dim, options).expand({a.kv_heads, -1, -1});
    return LatentFactorization(problem);
  }
  const at::Tensor weight =
      head_weights(moments_, steps_).view({-1, 1, 1}) / static_cast<double>(a.head_dim);
  const at::Tensor queries = folded_query_moments(moments_.queries, selection.fold) * weight;
  const at::Tensor pooled = queries.unflatten(0, {a.kv_heads, group}).sum(1);  // [K, D, D]
  const at::Tensor rows = others.unsqueeze(2), columns = others.unsqueeze(1);
  problem.key_metric =
      pooled.gather(1, rows.expand({-1, -1, a.head_dim})).gather(2, columns.expand({-1, n, -1}));
  problem.value_metric = output_metric(source_.o, a.heads).unflatten(0, {a.kv_heads, group}).sum(1);
  return LatentFactorization(problem);
}

double PerHeadLayerFactory::cost(const at::Tensor& variance) const {
  return (variance * head_weights(moments_, steps_)).sum().item<double>() /
         static_cast<double>(source_.shape.head_dim);
}

double PerHeadLayerFactory::loss(std::int64_t rope_dim, std::int64_t latent_dim) const {
  const PairSelection selection = select(rope_dim);
  const LatentFactorization latent = factorization(selection);
  const double all = steps_.split_gamma * cost(selection.all) + latent.dropped(0);
  const double lost = steps_.split_gamma * cost(selection.lost) + latent.dropped(latent_dim);
  return all > 0 ? lost / all : 0.0;
}

PerHeadLayer PerHeadLayerFactory::make(std::int64_t rope_dim, std::int64_t latent_dim) const {
  const AttentionShape& a = source_.shape;
  const PairSelection selection = select(rope_dim);
  const LatentFactorization latent = factorization(selection);
  const LatentFactorization::Factors factors = latent.take(latent_dim);
  PerHeadLayer out;
  out.shape.attention = a;
  out.shape.method = SvdMethod::Joint;
  out.shape.rope_dim = rope_dim;
  out.shape.latent_dim = latent_dim;
  out.kept = selection.kept.cpu();
  const at::Device device = source_.k.device();
  const at::Tensor q_rows = reordered_rows(out.kept, a.heads, a.head_dim).to(device);
  const at::Tensor k_rows = reordered_rows(out.kept, a.kv_heads, a.head_dim).to(device);
  const std::int64_t rotary = a.kv_heads * rope_dim;
  const auto folded = [&](const at::Tensor& rows) {
    if (!rows.defined()) return at::Tensor();
    const at::Tensor table = rows.to(at::kDouble).reshape({rows.size(0), -1});
    return fold_queries(table, selection.fold).view(rows.sizes());
  };
  out.weights = {{"q_proj.weight", rows_of(folded(source_.q), q_rows)},
                 {"q_proj.bias", rows_of(folded(source_.q_bias), q_rows)},
                 {"k_r_proj.weight", rows_of(source_.k, k_rows.slice(0, 0, rotary))},
                 {"k_r_proj.bias", rows_of(source_.k_bias, k_rows.slice(0, 0, rotary))},
                 {"kv_proj.down_kv.weight", factors.down},
                 {"kv_proj.up_k.weight", factors.up_k},
                 {"kv_proj.up_k.bias", rows_of(source_.k_bias, k_rows.slice(0, rotary))},
                 {"kv_proj.up_v.weight", factors.up_v},
                 {"kv_proj.up_v.bias", source_.v_bias},
                 {"o_proj.weight", source_.o},
                 {"o_proj.bias", source_.o_bias}};
  const double all = cost(selection.all), whole = latent.dropped(0);
  out.lost = {all > 0 ? cost(selection.lost) / all : 0.0,
              whole > 0 ? latent.dropped(latent_dim) / whole : 0.0};
  return out;
}

}  // namespace vmla
