// Latent attention with factors of their own for image and text tokens (MHA2MLA-VLM's layout).
#pragma once

#include <memory>

#include "nn/attention.h"
#include "nn/mla_shape.h"
#include "nn/partial_rope.h"

namespace vmla {

// One latent of C numbers is cached per token, made and read by the factors of the token's own
// modality m, and a flag says which that is:
//
//   k_u = [k_rope_u; up_k_m(u) c_u],   v_u = up_v_m(u) c_u,   c_u = down_kv_m(u) x_u
//
// Weights under self_attn: q_proj, k_r_proj and o_proj as MlaAttention's, kv_proj_img.{down_kv,
// up_k, up_v} and kv_proj_text.{down_kv, up_k, up_v}.
//
// Expanded: K and V are rebuilt by each token's own factors, then SDPA. Absorbed: two queries in
// latent space, of which each cached token takes its own, and two sums of latents, one a modality,
// which go through their own up_v.
class DecoupledMlaAttention final : public Attention {
 public:
  // rope_dims int64 [K, R] as MlaAttention's.
  DecoupledMlaAttention(const MlaShape& shape, const at::Tensor& rope_dims);
  at::Tensor forward(const at::Tensor& hidden, const AttentionContext& context) const override;
  CacheLayout cache_layout(CacheMode mode) const override { return mla_cache_layout(shape_, mode); }
  void collect(const std::string& prefix, ParameterList& out) override;
  std::optional<std::string> why_no_step() const override;
  const MlaShape& shape() const { return shape_; }

 private:
  struct Factors {
    Linear down_kv, up_k, up_v;
  };
  at::Tensor expand_key(const at::Tensor& k_rope,
                        const at::Tensor& latent,
                        const at::Tensor& image) const;
  at::Tensor expand_value(const at::Tensor& latent, const at::Tensor& image) const;
  at::Tensor absorbed(const PartialRope& rope,
                      const at::Tensor& latent,
                      const at::Tensor& image,
                      const at::Tensor& mask) const;
  bool absorbed_is_cheaper(std::int64_t queries) const;

  MlaShape shape_;
  at::Tensor rope_dims_;  // int64 [K * R]
  Linear q_proj_, k_r_proj_, o_proj_;
  Factors image_, text_;
};

// MlaAttention, or DecoupledMlaAttention where the shape says so.
std::unique_ptr<Attention> make_mla_attention(const MlaShape& shape, const at::Tensor& rope_dims);

}  // namespace vmla
