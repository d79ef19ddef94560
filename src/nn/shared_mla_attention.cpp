#include "nn/shared_mla_attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "nn/absorbed.h"
#include "nn/rope.h"

namespace vmla {

SharedMlaAttention::SharedMlaAttention(const SharedMlaShape& shape, const at::Tensor& frequencies)
    : shape_(shape),
      rope_dims_(at::cat({frequencies, frequencies + shape.attention.head_dim / 2})) {
  q_proj_.has_bias = k_r_proj_.has_bias = up_v_.has_bias = shape.attention.qkv_bias;
  o_proj_.has_bias = shape.attention.out_bias;
}

void SharedMlaAttention::collect(const std::string& prefix, ParameterList& out) {
  q_proj_.collect(prefix + ".q_proj", out);
  out.push_back({prefix + ".q_mix.weight", &q_mix_});
  k_r_proj_.collect(prefix + ".k_r_proj", out);
  down_kv_.collect(prefix + ".kv_proj.down_kv", out);
  up_k_.collect(prefix + ".kv_proj.up_k", out);
  up_v_.collect(prefix + ".kv_proj.up_v", out);
  o_proj_.collect(prefix + ".o_proj", out);
}

double SharedMlaAttention::scale() const {
  return 1.0 / std::sqrt(static_cast<double>(shape_.attention.head_dim));
}

// q [B, S, H, D] -> the components' queries before rotation [B, S, H, 2n].
at::Tensor SharedMlaAttention::mixed_query(const at::Tensor& q) const {
  const at::Tensor pairs = q.index_select(-1, rope_dims_);
  const at::Tensor re = pairs.slice(-1, 0, shape_.components),
                   im = pairs.slice(-1, shape_.components);
  const at::Tensor w_re = q_mix_.select(-1, 0), w_im = q_mix_.select(-1, 1);
  return at::cat({re * w_re + im * w_im, im * w_re - re * w_im}, -1);
}

at::Tensor SharedMlaAttention::expand_key(const at::Tensor& k_rope,
                                          const at::Tensor& latent,
                                          const KeyHeads& heads) const {
  const std::int64_t batch = latent.size(0), tokens = latent.size(1);
  const std::int64_t dim = shape_.attention.head_dim;
  const at::Tensor nope =
      of_heads(up_k_, heads, dim).forward(latent).view({batch, tokens, heads.count, dim});
  return at::cat({nope, k_rope.expand({batch, tokens, heads.count, 2 * shape_.components})}, -1);
}

at::Tensor SharedMlaAttention::expand_value(const at::Tensor& latent, const KeyHeads& heads) const {
  const std::int64_t dim = shape_.attention.head_dim;
  return of_heads(up_v_, heads, dim)
      .forward(latent)
      .view({latent.size(0), latent.size(1), heads.count, dim});
}

// Per token of the cache, expanding costs C*K*2D multiplications and 2D + 2n a query head; absorbed
// costs 2C + 2n a query head.
bool SharedMlaAttention::absorbed_is_cheaper(std::int64_t queries) const {
  const auto& a = shape_.attention;
  const std::int64_t expand = shape_.latent_dim * a.kv_heads * 2 * a.head_dim;
  return queries * a.heads * 2 * shape_.latent_dim < expand + queries * a.heads * 2 * a.head_dim;
}

// Per token and head, scores cost D + 2n over half of the tokens; with a rotated key a head 2D, and
// 2n*D to make that. Flash attention takes no more than 256 numbers.
bool SharedMlaAttention::keys_by_head_are_cheaper(std::int64_t tokens) const {
  constexpr std::int64_t kMostFused = 256;
  const std::int64_t dim = shape_.attention.head_dim, rope = 2 * shape_.components;
  const bool keeps_fused = dim + rope > kMostFused && 2 * dim <= kMostFused && tokens >= dim;
  return keeps_fused || tokens * (rope - dim) > 2 * rope * dim;
}

at::Tensor SharedMlaAttention::forward(const at::Tensor& hidden,
                                       const AttentionContext& context) const {
  return o_proj_.forward(mixed_values(hidden, context));
}

at::Tensor SharedMlaAttention::mixed_values(const at::Tensor& hidden,
                                            const AttentionContext& context) const {
  const auto& a = shape_.attention;
  const std::int64_t batch = hidden.size(0), fresh = hidden.size(1);
  const at::Tensor cos = context.cos.index_select(-1, rope_dims_).unsqueeze(2);  // [B, S, 1, 2n]
  const at::Tensor sin = context.sin.index_select(-1, rope_dims_).unsqueeze(2);
  const at::Tensor q = q_proj_.forward(hidden).view({batch, fresh, a.heads, a.head_dim});
  if (context.cache == nullptr && context.path != AttentionPath::Absorbed &&
      keys_by_head_are_cheaper(fresh)) {
    const at::Tensor k_rope = apply_rope(k_r_proj_.forward(hidden).unsqueeze(2), cos, sin);
    return with_keys_by_head(q, k_rope.squeeze(2), down_kv_.forward(hidden), context);
  }
  const at::Tensor q_rope = apply_rope(mixed_query(q), cos, sin);
  at::Tensor k_rope = apply_rope(k_r_proj_.forward(hidden).unsqueeze(2), cos, sin);
  at::Tensor latent = down_kv_.forward(hidden);

  if (context.cache != nullptr && context.cache_mode == CacheMode::Expanded) {
    const KeyHeads every{0, a.kv_heads};
    const auto all = context.cache->append(
        context.layer, {expand_key(k_rope, latent, every), expand_value(latent, every)});
    const auto cached = [&all](const KeyHeads&) { return std::pair{all[0], all[1]}; };
    return expanded(q, q_rope, cached, a.kv_heads, context.mask);
  }
  if (context.cache != nullptr) {
    const auto all = context.cache->append(context.layer, {k_rope, latent});
    k_rope = all[0];
    latent = all[1];
  }
  if (takes_absorbed_path(context, absorbed_is_cheaper(fresh)))
    return absorbed(q, q_rope, k_rope, latent, context.mask);
  const auto make = [&](const KeyHeads& heads) {
    return std::pair{expand_key(k_rope, latent, heads), expand_value(latent, heads)};
  };
  // Keys, values and those widened.
  const auto bytes =
      latent.size(1) * batch * (3 * a.head_dim + 4 * shape_.components) * hidden.element_size();
  const std::int64_t at_once = context.cache == nullptr
                                   ? a.kv_heads
                                   : heads_within(expansion_budget(batch), bytes, a.kv_heads);
  return expanded(q, q_rope, make, at_once, context.mask);
}

// What a query head makes of the rope key: rows such that q_rot . (rows k_rope) is its score.
at::Tensor SharedMlaAttention::rope_key_rows() const {
  const auto& a = shape_.attention;
  const std::int64_t n = shape_.components;
  const at::Tensor w_re = q_mix_.select(-1, 0), w_im = q_mix_.select(-1, 1);  // [H, n]
  // w k = (w_re k_re - w_im k_im, w_im k_re + w_re k_im), at the places of its pair.
  const at::Tensor values =
      at::stack({at::cat({w_re, -w_im}, 1), at::cat({w_im, w_re}, 1)}, 1);  // [H, 2, 2n]
  const at::Tensor re = rope_dims_.slice(0, 0, n), im = rope_dims_.slice(0, n);
  const at::Tensor places = at::stack({at::cat({re, re}), at::cat({im, im})})
                                .to(values.device())
                                .expand({a.heads, -1, -1});
  return at::zeros({a.heads, a.head_dim, 2 * n}, values.options())
      .scatter(1, places, values)
      .flatten(0, 1);
}

at::Tensor SharedMlaAttention::with_keys_by_head(const at::Tensor& q,
                                                 const at::Tensor& k_rope,
                                                 const at::Tensor& latent,
                                                 const AttentionContext& context) const {
  const auto& a = shape_.attention;
  const KeyHeads every{0, a.kv_heads};
  const std::int64_t group = a.heads / a.kv_heads;
  const auto per_query_head = [&](const at::Tensor& x) {
    return group == 1 ? x : x.repeat_interleave(group, 2);
  };
  const at::Tensor q_rot = apply_rope(q, context.cos.unsqueeze(2), context.sin.unsqueeze(2));
  const at::Tensor nope =
      of_heads(up_k_, every, a.head_dim).forward(latent).unflatten(-1, {a.kv_heads, a.head_dim});
  const at::Tensor rope = at::linear(k_rope, rope_key_rows()).unflatten(-1, {a.heads, a.head_dim});
  const at::Tensor value = per_query_head(expand_value(latent, every));
  return expanded_attention(at::cat({q, q_rot}, -1),
                            at::cat({per_query_head(nope), rope}, -1),
                            at::constant_pad_nd(value, {0, a.head_dim}),
                            context.mask,
                            scale())
      .unflatten(-1, {a.heads, 2 * a.head_dim})
      .slice(-1, 0, a.head_dim)
      .flatten(2);
}

// q [B, S, H, D], q_rope [B, S, H, 2n] -> [B, S, H*D].
at::Tensor SharedMlaAttention::expanded(const at::Tensor& q,
                                        const at::Tensor& q_rope,
                                        const Expansion& make,
                                        std::int64_t at_once,
                                        const at::Tensor& mask) const {
  const auto& a = shape_.attention;
  // Values as wide as the keys keep SDPA on its fused paths.
  const auto widened = [&](const KeyHeads& heads) {
    auto [key, value] = make(heads);
    return std::pair{key, at::constant_pad_nd(value, {0, 2 * shape_.components})};
  };
  return attention_by_heads(at::cat({q, q_rope}, -1), a.kv_heads, at_once, widened, mask, scale())
      .view({q.size(0), q.size(1), a.heads, -1})
      .slice(-1, 0, a.head_dim)
      .reshape({q.size(0), q.size(1), a.heads * a.head_dim});
}

// q [B, S, H, D], q_rope [B, S, H, 2n], k_rope [B, T, 1, 2n], latent [B, T, C] -> [B, S, H*D].
at::Tensor SharedMlaAttention::absorbed(const at::Tensor& q,
                                        const at::Tensor& q_rope,
                                        const at::Tensor& k_rope,
                                        const at::Tensor& latent,
                                        const at::Tensor& mask) const {
  const auto& a = shape_.attention;
  const std::int64_t batch = q.size(0), fresh = q.size(1);
  const std::int64_t rows = a.heads * fresh, group = a.heads / a.kv_heads;
  const at::Tensor q_latent = times_head_weights(by_key_head(q, a.kv_heads),
                                                 up_k_.weight.view({a.kv_heads, a.head_dim, -1}))
                                  .reshape({batch, rows, -1});  // [B, H*S, C]
  const at::Tensor scores =
      latent_scores(q_latent, latent) +
      latent_scores(by_key_head(q_rope, a.kv_heads).reshape({batch, rows, -1}),
                    k_rope.squeeze(2));  // [B, H*S, T]
  const at::Tensor weights = absorbed_weights(scores, mask, fresh, scale());
  const at::Tensor mixed =
      mix_latents(weights, latent).view({batch, a.kv_heads, group * fresh, -1});  // [B, K, G*S, C]
  at::Tensor out =
      times_head_weights(mixed, up_v_.weight.view({a.kv_heads, a.head_dim, -1}).transpose(1, 2));
  if (up_v_.has_bias) out = out + up_v_.bias.view({a.kv_heads, 1, a.head_dim});
  return from_key_heads(out, fresh);
}

at::Tensor SharedMlaAttention::step(const at::Tensor& hidden,
                                    const at::Tensor& residual,
                                    const StepContext& context) const {
  const auto& a = shape_.attention;
  const std::int64_t batch = hidden.size(0);
  const at::Tensor projected = input_proj_.forward(hidden, {&q_proj_, &k_r_proj_, &down_kv_});
  const kernels::Plane &k_rope = context.planes[0], &latent = context.planes[1];
  const at::Tensor q_rope = kernels::shared_rope_append(
      {projected, q_mix_, context.cos, context.sin, rope_dims_.to(hidden.device()), k_rope, latent},
      context.span);
  const at::Tensor q =
      projected.narrow(1, 0, a.heads * a.head_dim).view({batch, a.heads, a.head_dim});
  const at::Tensor q_latent = kernels::heads_linear_transposed(
      q, up_k_.weight.view({a.kv_heads, a.head_dim, shape_.latent_dim}));
  return latent_step(q_rope, q_latent, context, scale(), up_v_, o_proj_, a, residual);
}

void SharedMlaAttention::merge_projections() {
  input_proj_.merge({&q_proj_, &k_r_proj_, &down_kv_});
}

}  // namespace vmla
