#include "convert/rorope_layer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "convert/factorize.h"

namespace vmla {
namespace {

constexpr std::size_t kMostCandidates = 4;

// A layer's keys by groups of F neighbouring frequencies: G groups of F * K pairs (frequency by
// frequency, then head by head), each of two parts.
struct Groups {
  std::int64_t kv_heads = 0, group = 1, count = 0, kept = 1;  // K, F, G, kept of a group

  Groups(const AttentionShape& shape, std::int64_t components) : kv_heads(shape.kv_heads) {
    const std::int64_t pairs = shape.head_dim / 2;
    group = components >= pairs ? 1 : pairs / components;
    count = pairs / group;
    kept = components / count;
  }
  std::int64_t pairs() const { return group * kv_heads; }

  // [K*D, X] -> [G, F*K, 2, X]
  at::Tensor split(const at::Tensor& rows) const {
    return rows.reshape({kv_heads, 2, count, group, -1})
        .permute({2, 3, 0, 1, 4})
        .reshape({count, pairs(), 2, -1});
  }
  // And back.
  at::Tensor join(const at::Tensor& parts) const {
    return parts.reshape({count, group, kv_heads, 2, -1}).permute({2, 3, 0, 1, 4}).flatten(0, 3);
  }
};

// parts [G, F*K, 2, X], vectors [G, F*K, M] -> vectors^T parts [G, M, 2, X]
at::Tensor rotated(const at::Tensor& vectors, const at::Tensor& parts) {
  return at::matmul(vectors.transpose(1, 2), parts.flatten(2)).unflatten(2, {2, -1});
}

struct Components {
  at::Tensor vectors;  // [G, F*K, F*K], the strongest first
  double lost = 0.0;   // the energy's share behind the kept ones
};

// Of the pre-RoPE keys, real and imaginary parts being samples alike.
Components principal_components(const Groups& groups,
                                const at::Tensor& keys,      // [G, F*K, 2, E']
                                const at::Tensor& inputs) {  // [E', E']
  at::Tensor moments = at::zeros({groups.count, groups.pairs(), groups.pairs()}, keys.options());
  for (std::int64_t part = 0; part < 2; ++part) {
    const at::Tensor rows = keys.select(2, part);
    moments += at::matmul(at::matmul(rows, inputs), rows.transpose(1, 2));
  }
  const auto [values, vectors] = at::linalg_eigh((moments + moments.transpose(1, 2)) / 2);
  const at::Tensor energies = values.clamp_min(0).flip(1);
  const double all = energies.sum().item<double>();
  const double lost = energies.slice(1, groups.kept).sum().item<double>();
  return {vectors.flip(2), all > 0 ? lost / all : 0.0};
}

// Symmetric orthogonal matrices that take `direction` to its length at place 0. [..., F] -> [...,
// F, F]
at::Tensor reflections(const at::Tensor& direction) {
  at::Tensor normal = direction.clone();
  normal.select(-1, 0) -= at::linalg_vector_norm(direction, 2, -1);
  const at::Tensor square = normal.square().sum(-1, /*keepdim=*/true).unsqueeze(-1);
  const at::Tensor outer = normal.unsqueeze(-1) * normal.unsqueeze(-2);
  const at::Tensor none = at::eye(direction.size(-1), direction.options());
  return none -
         at::where(square > 1e-24, 2 * outer / square.clamp_min(1e-24), at::zeros_like(outer));
}

// turns [G, K, F, F] on rows [heads*D, X], head by head of `heads`.
at::Tensor turned(const at::Tensor& rows, const at::Tensor& turns, std::int64_t heads) {
  const std::int64_t count = turns.size(0), group = turns.size(2);
  const at::Tensor of_head = turns.transpose(0, 1)
                                 .repeat_interleave(heads / turns.size(1), 0)
                                 .unsqueeze(1);  // [H,1,G,F,F]
  const at::Tensor parts = rows.to(at::kDouble).reshape({heads, 2, count, group, -1});
  return at::matmul(of_head, parts).flatten(0, 3);
}

// Mean over outputs of their root mean squares. rows [M, E]
double mean_length(const at::Tensor& rows, const at::Tensor& inputs) {
  return (rows.mm(inputs) * rows).sum(1).clamp_min(0).sqrt().mean().item<double>();
}

}  // namespace

bool is_rorope_width(const AttentionShape& shape, std::int64_t components) {
  const std::int64_t pairs = shape.head_dim / 2;
  return components >= 1 && components <= shape.kv_heads * pairs &&
         (components % pairs == 0 || pairs % components == 0);
}

std::int64_t largest_rorope_latent(const AttentionShape& shape, std::int64_t components) {
  return std::min(2 * shape.kv_heads * shape.head_dim - 2 * components, shape.hidden);
}

std::vector<std::int64_t> rorope_candidates(const AttentionShape& shape, std::int64_t budget) {
  check(budget >= 3,
        ErrorKind::Usage,
        "kv_budget: expected at least 3 numbers a token and layer, got {}",
        budget);
  const std::int64_t pairs = shape.head_dim / 2;
  if (budget >= 2 * shape.kv_heads * shape.head_dim) return {shape.kv_heads * pairs};
  std::vector<std::int64_t> out;
  for (std::int64_t n = pairs; n >= 1; --n) {
    if (out.size() < kMostCandidates && pairs % n == 0 && 2 * n < budget) out.push_back(n);
  }
  return out;
}

AttentionMoments observe_inputs(const DecoderLayer& layer,
                                const CalibrationStream& stream,
                                bool with_bias) {
  const at::NoGradGuard no_grad;
  std::array<at::Tensor, 2> sums;
  std::array<double, 2> tokens{};
  for (std::int64_t i = 0; i < stream.size(); ++i) {
    const StreamBatch& batch = stream.batch(i);
    const at::Tensor rows = batch.real.flatten().nonzero().squeeze(1);
    at::Tensor x =
        attention_input(layer, batch).flatten(0, 1).index_select(0, rows).to(at::kDouble);
    if (with_bias) x = at::constant_pad_nd(x, {0, 1}, 1.0);
    const std::size_t kind = batch.is_text ? 1 : 0;
    const at::Tensor sum = x.t().mm(x);
    sums[kind] = sums[kind].defined() ? sums[kind] + sum : sum;
    tokens[kind] += static_cast<double>(x.size(0));
  }
  // Both kinds count alike, however many tokens they have.
  AttentionMoments out;
  for (std::size_t kind = 0; kind < sums.size(); ++kind) {
    if (!sums[kind].defined()) continue;
    const at::Tensor mean = sums[kind] / tokens[kind];
    out.inputs = out.inputs.defined() ? (out.inputs + mean) / 2 : mean;
  }
  check(out.inputs.defined() && out.inputs.isfinite().all().item<bool>(),
        ErrorKind::Numeric,
        "calibration: expected finite activations, got NaN or infinity");
  return out;
}

SharedLayer make_rorope_layer(const SourceAttention& source,
                              const at::Tensor& inputs,
                              std::int64_t components,
                              std::int64_t latent_dim) {
  const AttentionShape& a = source.shape;
  const Groups groups(a, components);
  at::Tensor rows = source.k.to(at::kDouble);
  if (source.k_bias.defined())
    rows = at::cat({rows, source.k_bias.to(at::kDouble).unsqueeze(1)}, 1);
  const at::Tensor keys = groups.split(rows);
  const Components found = principal_components(groups, keys, inputs);
  const at::Tensor by_component = rotated(found.vectors, keys);  // [G, F*K, 2, E']

  // The kept ones: [n, 2, E'].
  const at::Tensor kept = by_component.slice(1, 0, groups.kept).flatten(0, 1);
  const at::Tensor rope = at::cat({kept.select(1, 0), kept.select(1, 1)});
  const at::Tensor mixing = found.vectors.slice(2, 0, groups.kept)
                                .unflatten(1, {groups.group, groups.kv_heads});  // [G, F, K, kept]
  // Of a group of several frequencies, each head's own mixture of them is turned into the first
  // one's place, in queries and keys alike.
  at::Tensor turns;
  at::Tensor lengths = mixing.select(1, 0);  // [G, K, kept]
  if (groups.group > 1) {
    const at::Tensor direction = mixing.select(3, 0).transpose(1, 2);  // [G, K, F]
    turns = reflections(direction);
    lengths = at::linalg_vector_norm(direction, 2, -1, /*keepdim=*/true);
  }

  const std::int64_t hidden = a.hidden;
  const at::Tensor moment = inputs.slice(0, 0, hidden).slice(1, 0, hidden);
  const at::Tensor rest = by_component.slice(1, groups.kept).slice(3, 0, hidden).flatten(0, 2);
  const at::Tensor values = source.v.to(at::kDouble);
  const std::int64_t others = rest.size(0);
  double ratio = 1.0;
  if (others > 0) {
    const double key = mean_length(rest, moment), value = mean_length(values, moment);
    if (key > 0.0 && value > 0.0) ratio = key / value;
  }
  const WhitenedFactors latent =
      factorize_whitened(at::cat({rest / ratio, values}), damped_root(moment, 0.0), latent_dim);
  const at::Tensor up = latent.factors.up;
  at::Tensor up_k = at::zeros({a.kv_heads * a.head_dim, latent_dim}, up.options());
  if (others > 0) {
    const at::Tensor of_rest =
        (up.slice(0, 0, others) * ratio)
            .reshape({groups.count, groups.pairs() - groups.kept, 2, latent_dim});
    up_k = groups.join(rotated(found.vectors.slice(2, groups.kept).transpose(1, 2), of_rest));
  }

  SharedLayer out;
  out.shape = {a, components, latent_dim};
  out.frequencies = at::arange(groups.count, source.q.options().dtype(at::kLong))
                        .mul(groups.group)
                        .repeat_interleave(groups.kept);
  const at::Tensor real = lengths.transpose(0, 1).flatten(1);  // [K, n]
  out.weights = {
      {"q_proj.weight", source.q},
      {"q_proj.bias", source.q_bias},
      {"q_mix.weight",
       at::stack({real, at::zeros_like(real)}, -1).repeat_interleave(a.heads / a.kv_heads, 0)},
      {"k_r_proj.weight", rope.slice(1, 0, hidden).contiguous()},
      {"k_r_proj.bias",
       source.k_bias.defined() ? rope.select(1, hidden).contiguous() : at::Tensor()},
      {"kv_proj.down_kv.weight", latent.factors.down},
      {"kv_proj.up_k.weight", up_k},
      {"kv_proj.up_v.weight", up.slice(0, others).contiguous()},
      {"kv_proj.up_v.bias", source.v_bias},
      {"o_proj.weight", source.o},
      {"o_proj.bias", source.o_bias}};
  if (turns.defined()) {
    out.weights["q_proj.weight"] = turned(source.q, turns, a.heads);
    if (source.q_bias.defined())
      out.weights["q_proj.bias"] = turned(source.q_bias, turns, a.heads).squeeze(1);
    out.weights["kv_proj.up_k.weight"] = turned(up_k, turns, a.kv_heads);
  }
  out.lost = {found.lost, 1.0 - latent.retained};
  return out;
}

}  // namespace vmla
