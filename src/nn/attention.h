// The only attention that the decoder knows.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "nn/attention_shape.h"
#include "nn/cache_layout.h"
#include "nn/kv_cache.h"
#include "nn/layers.h"

namespace vmla {

// MlaAttention's two equal paths; Auto takes the cheaper one by operation count.
enum class AttentionPath { Auto, Expanded, Absorbed };

struct AttentionContext {
  at::Tensor cos;   // [B or 1, S, D]
  at::Tensor sin;   // [B or 1, S, D]
  at::Tensor mask;  // bool [B, 1, S, T], true = may be attended; undefined = causal and no padding
  KvCache* cache = nullptr;
  std::int64_t layer = 0;
  CacheMode cache_mode = CacheMode::Native;
  AttentionPath path = AttentionPath::Auto;
};

class Attention {
 public:
  virtual ~Attention() = default;
  // hidden [B, S, E] -> [B, S, E]. Differentiable without a cache.
  virtual at::Tensor forward(const at::Tensor& hidden, const AttentionContext& context) const = 0;
  virtual CacheLayout cache_layout(CacheMode mode) const = 0;
  virtual void collect(const std::string& prefix, ParameterList& out) = 0;
};

// q [B, S, H, D], k and v [B, T, K, D] -> [B, S, H*D] through SDPA; scores are scaled by scale.
at::Tensor expanded_attention(const at::Tensor& q,
                              const at::Tensor& k,
                              const at::Tensor& v,
                              const at::Tensor& mask,
                              double scale);

// MHA and GQA as in HF's LlamaAttention (q, k, v with bias: Qwen2).
class MhaAttention final : public Attention {
 public:
  explicit MhaAttention(const AttentionShape& shape);
  at::Tensor forward(const at::Tensor& hidden, const AttentionContext& context) const override;
  CacheLayout cache_layout(CacheMode mode) const override;
  void collect(const std::string& prefix, ParameterList& out) override;

 private:
  AttentionShape shape_;
  Linear q_proj_, k_proj_, v_proj_, o_proj_;
};

}  // namespace vmla
