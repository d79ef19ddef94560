// Multi-head latent attention of a converted model (MHA2MLA's layout).
#pragma once

#include "nn/attention.h"
#include "nn/attention_by_heads.h"
#include "nn/mla_shape.h"

namespace vmla {

// Weights under self_attn: q_proj (rows: all heads' rope rows, then all heads' others), k_r_proj
// [K*R, E], kv_proj.down_kv | down_k | down_v [C, E], kv_proj.up_k [K*N, C or E], kv_proj.up_v
// [K*D, C or E], o_proj.
//
// Expanded: K and V are rebuilt for all T tokens, then SDPA. Absorbed: q_nope is taken through up_k
// into latent space, scores are against the latent, the weighted latent goes through up_v; K and V
// are never rebuilt.
class MlaAttention final : public Attention {
 public:
  // rope_dims int64 [K, R]: which of the head's D rotary dimensions its kept rows are.
  MlaAttention(const MlaShape& shape, const at::Tensor& rope_dims);
  at::Tensor forward(const at::Tensor& hidden, const AttentionContext& context) const override;
  CacheLayout cache_layout(CacheMode mode) const override { return mla_cache_layout(shape_, mode); }
  void collect(const std::string& prefix, ParameterList& out) override;
  // Joint only: the other methods cache what the decode kernels do not read.
  std::optional<std::string> why_no_step() const override;
  at::Tensor step(const at::Tensor& hidden,
                  const at::Tensor& residual,
                  const StepContext& context) const override;
  void merge_projections() override;
  const MlaShape& shape() const { return shape_; }

 private:
  // Of some heads: k_rope [B, T, K, R]; key [B, T, C] or [B, T, K, N] and value [B, T, C] or
  // [B, T, K, D] -> [B, T, heads.count, D].
  at::Tensor expand_key(const at::Tensor& k_rope,
                        const at::Tensor& key,
                        const KeyHeads& heads) const;
  at::Tensor expand_value(const at::Tensor& value, const KeyHeads& heads) const;
  at::Tensor absorbed(const at::Tensor& q_rope,
                      const at::Tensor& q_nope,
                      const at::Tensor& k_rope,
                      const at::Tensor& key,
                      const at::Tensor& value,
                      const at::Tensor& mask) const;
  bool absorbed_is_cheaper(std::int64_t queries) const;

  MlaShape shape_;
  at::Tensor rope_dims_;  // int64 [K * R]
  Linear q_proj_, k_r_proj_, o_proj_;
  Linear down_kv_, down_k_, down_v_, up_k_, up_v_;
  MergedLinear input_proj_;  // q, k_r, down_kv
};

}  // namespace vmla
