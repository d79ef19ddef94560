#include "nn/decoupled_mla_attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "nn/absorbed.h"
#include "nn/mla_attention.h"

namespace vmla {
namespace {

// x [B, T, …] through the projection of each token's modality. image bool [B, T].
at::Tensor by_modality(const at::Tensor& image,
                       const Linear& of_image,
                       const Linear& of_text,
                       const at::Tensor& x) {
  return at::where(image.unsqueeze(-1), of_image.forward(x), of_text.forward(x));
}

}  // namespace

DecoupledMlaAttention::DecoupledMlaAttention(const MlaShape& shape, const at::Tensor& rope_dims)
    : shape_(shape), rope_dims_(rope_dims.reshape(-1)) {
  check(shape.joint() && shape.decoupled,
        ErrorKind::Internal,
        "decoupled attention: expected a joint latent, got {}",
        svd_method_name(shape.method));
  q_proj_.has_bias = k_r_proj_.has_bias = shape.attention.qkv_bias;
  for (Factors* factors : {&image_, &text_})
    factors->up_k.has_bias = factors->up_v.has_bias = shape.attention.qkv_bias;
  o_proj_.has_bias = shape.attention.out_bias;
}

void DecoupledMlaAttention::collect(const std::string& prefix, ParameterList& out) {
  q_proj_.collect(prefix + ".q_proj", out);
  k_r_proj_.collect(prefix + ".k_r_proj", out);
  const auto collect_factors = [&](const std::string& name, Factors& factors) {
    factors.down_kv.collect(prefix + name + ".down_kv", out);
    factors.up_k.collect(prefix + name + ".up_k", out);
    factors.up_v.collect(prefix + name + ".up_v", out);
  };
  collect_factors(".kv_proj_img", image_);
  collect_factors(".kv_proj_text", text_);
  o_proj_.collect(prefix + ".o_proj", out);
}

std::optional<std::string> DecoupledMlaAttention::why_no_step() const {
  return "latents decoupled by modality have no decode step of fixed shapes";
}

// k_rope [B, T, K, R], latent [B, T, C], image bool [B, T] -> [B, T, K, D].
at::Tensor DecoupledMlaAttention::expand_key(const at::Tensor& k_rope,
                                             const at::Tensor& latent,
                                             const at::Tensor& image) const {
  const at::Tensor nope = by_modality(image, image_.up_k, text_.up_k, latent);
  return at::cat(
      {k_rope,
       nope.view({latent.size(0), latent.size(1), shape_.attention.kv_heads, shape_.nope_dim()})},
      -1);
}

at::Tensor DecoupledMlaAttention::expand_value(const at::Tensor& latent,
                                               const at::Tensor& image) const {
  return by_modality(image, image_.up_v, text_.up_v, latent)
      .view({latent.size(0), latent.size(1), shape_.attention.kv_heads, shape_.attention.head_dim});
}

// As MlaAttention's, with all that concerns latents twice.
bool DecoupledMlaAttention::absorbed_is_cheaper(std::int64_t queries) const {
  const auto& a = shape_.attention;
  const std::int64_t expand = 2 * shape_.latent_dim * a.kv_heads * (shape_.nope_dim() + a.head_dim);
  return queries * a.heads * (shape_.rope_dim + 4 * shape_.latent_dim) <
         expand + queries * a.heads * 2 * a.head_dim;
}

at::Tensor DecoupledMlaAttention::forward(const at::Tensor& hidden,
                                          const AttentionContext& context) const {
  const auto& a = shape_.attention;
  at::Tensor image = context.image.defined() ? context.image
                                             : at::zeros({hidden.size(0), hidden.size(1)},
                                                         hidden.options().dtype(at::kBool));
  PartialRope rows = partial_rope(q_proj_.forward(hidden),
                                  k_r_proj_.forward(hidden),
                                  context.cos,
                                  context.sin,
                                  rope_dims_,
                                  shape_);
  at::Tensor latent = by_modality(image, image_.down_kv, text_.down_kv, hidden);

  const double scale = 1.0 / std::sqrt(static_cast<double>(a.head_dim));
  const auto expanded = [&](const at::Tensor& key, const at::Tensor& value) {
    return expanded_attention(
        at::cat({rows.q_rope, rows.q_nope}, -1), key, value, context.mask, scale);
  };
  if (context.cache != nullptr && context.cache_mode == CacheMode::Expanded) {
    const auto all = context.cache->append(
        context.layer, {expand_key(rows.k_rope, latent, image), expand_value(latent, image)});
    return o_proj_.forward(expanded(all[0], all[1]));
  }
  if (context.cache != nullptr) {
    const auto all =
        context.cache->append(context.layer, {rows.k_rope, latent, image.unsqueeze(-1)});
    rows.k_rope = all[0];
    latent = all[1];
    image = all[2].squeeze(-1);
  }
  if (takes_absorbed_path(context, absorbed_is_cheaper(hidden.size(1))))
    return o_proj_.forward(absorbed(rows, latent, image, context.mask));
  return o_proj_.forward(
      expanded(expand_key(rows.k_rope, latent, image), expand_value(latent, image)));
}

// rope: of S queries and T keys; latent [B, T, C]; image bool [B, T] -> [B, S, H*D]. Biases may
// differ between the modalities, so the softmax does not cancel those of up_k.
at::Tensor DecoupledMlaAttention::absorbed(const PartialRope& rope,
                                           const at::Tensor& latent,
                                           const at::Tensor& image,
                                           const at::Tensor& mask) const {
  const auto& a = shape_.attention;
  const std::int64_t batch = latent.size(0), fresh = rope.q_rope.size(1), tokens = latent.size(1);
  const std::int64_t rows = a.heads * fresh, n = shape_.nope_dim();
  const at::Tensor is_image = image.view({batch, 1, 1, tokens});
  at::Tensor scores =
      head_scores(by_key_head(rope.q_rope, a.kv_heads), rope.k_rope);  // [B, K, G*S, T]
  if (n > 0) {
    const at::Tensor q = by_key_head(rope.q_nope, a.kv_heads);  // [B, K, G*S, N]
    const auto scores_of = [&](const Factors& factors) {
      const at::Tensor q_latent =
          times_head_weights(q, factors.up_k.weight.view({a.kv_heads, n, -1}));  // [B, K, G*S, C]
      const at::Tensor out =
          latent_scores(q_latent.reshape({batch, rows, -1}), latent).view_as(scores);
      return factors.up_k.has_bias ? out + at::matmul(q, factors.up_k.bias.view({a.kv_heads, n, 1}))
                                   : out;
    };
    scores = scores + at::where(is_image, scores_of(image_), scores_of(text_));
  }
  const at::Tensor weights =
      absorbed_weights(scores, mask, fresh, 1.0 / std::sqrt(static_cast<double>(a.head_dim)));
  const auto values_of = [&](const Factors& factors, const at::Tensor& own) {  // [B, K, G*S, D]
    const at::Tensor mixed = mix_latents(own.view({batch, rows, tokens}), latent);  // [B, H*S, C]
    const at::Tensor out =
        times_head_weights(mixed.view({batch, a.kv_heads, rows / a.kv_heads, -1}),
                           factors.up_v.weight.view({a.kv_heads, a.head_dim, -1}).transpose(1, 2));
    return factors.up_v.has_bias ? out + own.sum(-1, /*keepdim=*/true).to(out.scalar_type()) *
                                             factors.up_v.bias.view({a.kv_heads, 1, a.head_dim})
                                 : out;
  };
  const at::Tensor of_image = weights * is_image;
  return from_key_heads(values_of(image_, of_image) + values_of(text_, weights - of_image), fresh);
}

std::unique_ptr<Attention> make_mla_attention(const MlaShape& shape, const at::Tensor& rope_dims) {
  if (shape.decoupled) return std::make_unique<DecoupledMlaAttention>(shape, rope_dims);
  return std::make_unique<MlaAttention>(shape, rope_dims);
}

}  // namespace vmla
