// The only attention that the decoder knows.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/decode_ops.h"
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
  // bool [B, S], image tokens; undefined: all are text. Read by attention with factors of their own
  // for each.
  at::Tensor image;
  KvCache* cache = nullptr;
  std::int64_t layer = 0;
  CacheMode cache_mode = CacheMode::Native;
  AttentionPath path = AttentionPath::Auto;
};

// One token of each row, as a CUDA graph can hold it: fixed shapes, lengths on the device.
struct StepContext {
  at::Tensor cos, sin;  // [B, D]
  kernels::DecodeSpan span;
  std::vector<kernels::Plane> planes;  // the layer's storage, in the layout's order
};

class Attention {
 public:
  virtual ~Attention() = default;
  // hidden [B, S, E] -> [B, S, E]. Differentiable without a cache.
  virtual at::Tensor forward(const at::Tensor& hidden, const AttentionContext& context) const = 0;
  virtual CacheLayout cache_layout(CacheMode mode) const = 0;

  // Why there is no step(); nullopt when there is.
  virtual std::optional<std::string> why_no_step() const;
  // hidden [B, E], residual [B, E] -> residual + attention [B, E]. Stores the token's planes.
  // Errors: ErrorKind::Internal when why_no_step says so.
  virtual at::Tensor step(const at::Tensor& hidden,
                          const at::Tensor& residual,
                          const StepContext& context) const;
  // Lays the projections of the input side by side in one matrix, of which the parameters become
  // views. For inference: whoever replaces a parameter after this must not call step().
  virtual void merge_projections() {}
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
  std::optional<std::string> why_no_step() const override { return std::nullopt; }
  at::Tensor step(const at::Tensor& hidden,
                  const at::Tensor& residual,
                  const StepContext& context) const override;
  void merge_projections() override;

 private:
  AttentionShape shape_;
  Linear q_proj_, k_proj_, v_proj_, o_proj_;
  MergedLinear input_proj_;  // q, k, v
};

}  // namespace vmla
