#include "nn/mla_attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "kernels/append_query.h"
#include "nn/absorbed.h"
#include "nn/joined.h"
#include "nn/partial_rope.h"

namespace vmla {

MlaAttention::MlaAttention(const MlaShape& shape, const at::Tensor& rope_dims)
    : shape_(shape), rope_dims_(rope_dims.reshape(-1)) {
  q_proj_.has_bias = k_r_proj_.has_bias = up_k_.has_bias = up_v_.has_bias =
      shape.attention.qkv_bias;
  o_proj_.has_bias = shape.attention.out_bias;
}

void MlaAttention::collect(const std::string& prefix, ParameterList& out) {
  q_proj_.collect(prefix + ".q_proj", out);
  k_r_proj_.collect(prefix + ".k_r_proj", out);
  if (shape_.joint()) {
    down_kv_.collect(prefix + ".kv_proj.down_kv", out);
  } else {
    if (shape_.low_rank_key()) down_k_.collect(prefix + ".kv_proj.down_k", out);
    if (shape_.low_rank_value()) down_v_.collect(prefix + ".kv_proj.down_v", out);
  }
  up_k_.collect(prefix + ".kv_proj.up_k", out);
  up_v_.collect(prefix + ".kv_proj.up_v", out);
  o_proj_.collect(prefix + ".o_proj", out);
}

at::Tensor MlaAttention::expand_key(const at::Tensor& k_rope,
                                    const at::Tensor& key,
                                    const KeyHeads& heads) const {
  const at::Tensor rope = k_rope.narrow(2, heads.first, heads.count);
  const at::Tensor nope = shape_.low_rank_key()
                              ? of_heads(up_k_, heads, shape_.nope_dim()).forward(key)
                              : key.narrow(2, heads.first, heads.count);
  return joined(rope, nope.reshape({rope.size(0), rope.size(1), heads.count, shape_.nope_dim()}));
}

at::Tensor MlaAttention::expand_value(const at::Tensor& value, const KeyHeads& heads) const {
  if (!shape_.low_rank_value()) return value.narrow(2, heads.first, heads.count);
  return of_heads(up_v_, heads, shape_.attention.head_dim)
      .forward(value)
      .view({value.size(0), value.size(1), heads.count, shape_.attention.head_dim});
}

// Per token of the cache, expanding costs C*K*(N+D) multiplications and 2*D a query head; absorbed
// costs R + 2*C a query head. The split variants are judged alike.
bool MlaAttention::absorbed_is_cheaper(std::int64_t queries) const {
  const auto& a = shape_.attention;
  const std::int64_t expand = shape_.latent_dim * a.kv_heads * (shape_.nope_dim() + a.head_dim);
  return queries * a.heads * (shape_.rope_dim + 2 * shape_.latent_dim) <
         expand + queries * a.heads * 2 * a.head_dim;
}

at::Tensor MlaAttention::forward(const at::Tensor& hidden, const AttentionContext& context) const {
  const auto& a = shape_.attention;
  const std::int64_t batch = hidden.size(0), fresh = hidden.size(1);
  auto [q_rope, q_nope, k_rope] = partial_rope(q_proj_.forward(hidden),
                                               k_r_proj_.forward(hidden),
                                               context.cos,
                                               context.sin,
                                               rope_dims_,
                                               shape_);
  at::Tensor key, value;
  if (shape_.joint()) {
    key = value = down_kv_.forward(hidden);
  } else {
    key = shape_.low_rank_key()
              ? down_k_.forward(hidden)
              : up_k_.forward(hidden).view({batch, fresh, a.kv_heads, shape_.nope_dim()});
    value = shape_.low_rank_value()
                ? down_v_.forward(hidden)
                : up_v_.forward(hidden).view({batch, fresh, a.kv_heads, a.head_dim});
  }

  const double scale = 1.0 / std::sqrt(static_cast<double>(a.head_dim));
  const KeyHeads all_heads{0, a.kv_heads};
  if (context.cache != nullptr && context.cache_mode == CacheMode::Expanded) {
    const auto all = context.cache->append(
        context.layer, {expand_key(k_rope, key, all_heads), expand_value(value, all_heads)});
    const at::Tensor expanded_q = joined(q_rope, q_nope);
    return o_proj_.forward(expanded_attention(expanded_q, all[0], all[1], context.mask, scale));
  }
  if (context.cache != nullptr) {
    std::vector<at::Tensor> planes{k_rope, key};
    if (!shape_.joint()) planes.push_back(value);
    const auto all = context.cache->append(context.layer, planes);
    k_rope = all[0];
    key = all[1];
    value = all.back();
  }
  if (takes_absorbed_path(context, absorbed_is_cheaper(fresh)))
    return o_proj_.forward(absorbed(q_rope, q_nope, k_rope, key, value, context.mask));
  const auto make = [this, &key, &value, &rope = k_rope](const KeyHeads& heads) {
    return std::pair{expand_key(rope, key, heads), expand_value(value, heads)};
  };
  // Keys, values and the part before the rotary one is put beside it.
  const auto bytes =
      k_rope.size(1) * batch * (2 * a.head_dim + shape_.nope_dim()) * hidden.element_size();
  const std::int64_t at_once = context.cache == nullptr
                                   ? a.kv_heads
                                   : heads_within(expansion_budget(batch), bytes, a.kv_heads);
  return o_proj_.forward(
      attention_by_heads(joined(q_rope, q_nope), a.kv_heads, at_once, make, context.mask, scale));
}

// q_rope [B, S, H, R], q_nope [B, S, H, N]; k_rope [B, T, K, R]; key [B, T, C] or [B, T, K, N];
// value [B, T, C] or [B, T, K, D] -> [B, S, H*D]. up_k's bias adds q_nope·b to every key of a query
// alike, which the softmax cancels; up_v's bias is added once, for the weights sum to 1.
at::Tensor MlaAttention::absorbed(const at::Tensor& q_rope,
                                  const at::Tensor& q_nope,
                                  const at::Tensor& k_rope,
                                  const at::Tensor& key,
                                  const at::Tensor& value,
                                  const at::Tensor& mask) const {
  const auto& a = shape_.attention;
  const std::int64_t batch = q_rope.size(0), fresh = q_rope.size(1), tokens = k_rope.size(1);
  const std::int64_t group = a.heads / a.kv_heads, n = shape_.nope_dim();
  at::Tensor scores = head_scores(by_key_head(q_rope, a.kv_heads), k_rope);  // [B, K, G*S, T]
  if (n > 0) {
    const at::Tensor q = by_key_head(q_nope, a.kv_heads);  // [B, K, G*S, N]
    if (shape_.low_rank_key()) {
      const at::Tensor q_latent =
          times_head_weights(q, up_k_.weight.view({a.kv_heads, n, -1}));  // [B, K, G*S, C]
      scores = scores +
               latent_scores(q_latent.reshape({batch, a.heads * fresh, -1}), key).view_as(scores);
    } else {
      scores = scores + head_scores(q, key);
    }
  }
  const at::Tensor weights =
      absorbed_weights(scores, mask, fresh, 1.0 / std::sqrt(static_cast<double>(a.head_dim)));
  at::Tensor out;  // [B, K, G*S, D]
  if (shape_.low_rank_value()) {
    const at::Tensor mixed =
        mix_latents(weights.view({batch, a.heads * fresh, tokens}), value);  // [B, H*S, C]
    out = times_head_weights(mixed.view({batch, a.kv_heads, group * fresh, -1}),
                             up_v_.weight.view({a.kv_heads, a.head_dim, -1}).transpose(1, 2));
    if (up_v_.has_bias) out = out + up_v_.bias.view({a.kv_heads, 1, a.head_dim});
  } else {
    out = at::matmul(weights.to(value.scalar_type()), value.transpose(1, 2));
  }
  return from_key_heads(out, fresh);
}

std::optional<std::string> MlaAttention::why_no_step() const {
  if (shape_.joint()) return std::nullopt;
  return "svd_init_method " + svd_method_name(shape_.method) +
         " has no decode step of fixed shapes, only joint has";
}

at::Tensor MlaAttention::step(const at::Tensor& hidden,
                              const at::Tensor& residual,
                              const StepContext& context) const {
  const auto& a = shape_.attention;
  const std::int64_t batch = hidden.size(0), n = shape_.nope_dim();
  const at::Tensor projected = input_proj_.forward(hidden, {&q_proj_, &k_r_proj_, &down_kv_});
  const kernels::Plane &k_rope = context.planes[0], &latent = context.planes[1];
  const at::Tensor dims = rope_dims_.to(hidden.device()).view({a.kv_heads, shape_.rope_dim});
  const kernels::RopeAppend append{
      projected, context.cos, context.sin, dims, k_rope, latent, {}, a.heads, n};
  at::Tensor q_latent;
  if (n > 0) {
    const at::Tensor up_k = up_k_.weight.view({a.kv_heads, n, shape_.latent_dim});
    q_latent = kernels::rope_append_query(append, context.span, up_k);
  } else {
    kernels::rope_append(append, context.span);
    q_latent = at::zeros({batch, a.heads, shape_.latent_dim}, hidden.options());
  }
  const at::Tensor q_rope =
      projected.slice(1, 0, a.heads * shape_.rope_dim).view({batch, a.heads, shape_.rope_dim});
  return latent_step(q_rope,
                     q_latent,
                     context,
                     1.0 / std::sqrt(static_cast<double>(a.head_dim)),
                     up_v_,
                     o_proj_,
                     a,
                     residual);
}

void MlaAttention::merge_projections() {
  if (shape_.joint()) input_proj_.merge({&q_proj_, &k_r_proj_, &down_kv_});
}

}  // namespace vmla
