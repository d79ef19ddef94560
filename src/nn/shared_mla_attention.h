// Latent attention whose rope key is one for all heads (the layout "shared").
#pragma once

#include "nn/attention.h"
#include "nn/attention_by_heads.h"
#include "nn/shared_mla_shape.h"

namespace vmla {

// The score of query head h at t against the token at u, with pairs (j, j + D/2) read as complex
// numbers and theta_m the frequency of component m, is
//
//   ( q_h . up_k_h c(u) + sum_m Re( conj(q_hm) e^{-i theta_m (t - u)} k_m(u) ) ) / sqrt(D)
//   q_hm = conj(w_hm) q_h,j(m)
//
// Mixing heads by complex numbers commutes with the rotation, so one component serves all heads.
//
// Weights under self_attn: q_proj as in MHA, q_mix [H, n, 2] (w: real, imaginary), k_r_proj [2n, E]
// (all real parts, then all imaginary), kv_proj.down_kv [C, E], kv_proj.up_k [K*D, C],
// kv_proj.up_v [K*D, C], o_proj. With biases: q_proj, k_r_proj, up_v (a bias of up_k is the same
// for all keys, which the softmax cancels).
//
// Expanded: keys of D + 2n and values are built for all T tokens, then SDPA. Without a cache and
// with many components: each head's rotated key of D numbers is made from the shared one, so that
// keys have 2D however large n is. Absorbed: one multi-query attention over C + 2n numbers whose
// values are the latent.
class SharedMlaAttention final : public Attention {
 public:
  // frequencies int64 [n]: j(m), the rope pair each component rotates as, in [0, D/2).
  SharedMlaAttention(const SharedMlaShape& shape, const at::Tensor& frequencies);
  at::Tensor forward(const at::Tensor& hidden, const AttentionContext& context) const override;
  CacheLayout cache_layout(CacheMode mode) const override {
    return shared_mla_cache_layout(shape_, mode);
  }
  void collect(const std::string& prefix, ParameterList& out) override;
  std::optional<std::string> why_no_step() const override { return std::nullopt; }
  at::Tensor step(const at::Tensor& hidden,
                  const at::Tensor& residual,
                  const StepContext& context) const override;
  void merge_projections() override;
  const SharedMlaShape& shape() const { return shape_; }

 private:
  // What o_proj is applied to: hidden [B, S, E] -> [B, S, H*D].
  at::Tensor mixed_values(const at::Tensor& hidden, const AttentionContext& context) const;
  at::Tensor mixed_query(const at::Tensor& q) const;
  // Of some heads: k_rope [B, T, 1, 2n], latent [B, T, C] -> keys [B, T, heads.count, D + 2n] and
  // values [B, T, heads.count, D].
  at::Tensor expand_key(const at::Tensor& k_rope,
                        const at::Tensor& latent,
                        const KeyHeads& heads) const;
  at::Tensor expand_value(const at::Tensor& latent, const KeyHeads& heads) const;
  using Expansion = std::function<std::pair<at::Tensor, at::Tensor>(const KeyHeads&)>;
  at::Tensor expanded(const at::Tensor& q,
                      const at::Tensor& q_rope,
                      const Expansion& make,
                      std::int64_t at_once,
                      const at::Tensor& mask) const;
  at::Tensor absorbed(const at::Tensor& q,
                      const at::Tensor& q_rope,
                      const at::Tensor& k_rope,
                      const at::Tensor& latent,
                      const at::Tensor& mask) const;
  at::Tensor rope_key_rows() const;  // [H*D, 2n]
  // q [B, S, H, D], k_rope [B, S, 2n], rotated, latent [B, S, C] -> [B, S, H*D].
  at::Tensor with_keys_by_head(const at::Tensor& q,
                               const at::Tensor& k_rope,
                               const at::Tensor& latent,
                               const AttentionContext& context) const;
  bool keys_by_head_are_cheaper(std::int64_t tokens) const;
  bool absorbed_is_cheaper(std::int64_t queries) const;
  double scale() const;

  SharedMlaShape shape_;
  at::Tensor rope_dims_;  // int64 [2n]: j(m), then j(m) + D/2
  at::Tensor q_mix_;      // [H, n, 2]
  Linear q_proj_, k_r_proj_, down_kv_, up_k_, up_v_, o_proj_;
  MergedLinear input_proj_;  // q, k_r, down_kv
};

}  // namespace vmla
