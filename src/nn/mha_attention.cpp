#include <ATen/ATen.h>

#include <cmath>

#include "nn/attention.h"
#include "nn/rope.h"

namespace vmla {

MhaAttention::MhaAttention(const AttentionShape& shape) : shape_(shape) {
  q_proj_.has_bias = k_proj_.has_bias = v_proj_.has_bias = shape.qkv_bias;
  o_proj_.has_bias = shape.out_bias;
}

at::Tensor MhaAttention::forward(const at::Tensor& hidden, const AttentionContext& context) const {
  const std::int64_t batch = hidden.size(0), fresh = hidden.size(1);
  const at::Tensor cos = context.cos.unsqueeze(2), sin = context.sin.unsqueeze(2);
  const at::Tensor q = apply_rope(
      q_proj_.forward(hidden).view({batch, fresh, shape_.heads, shape_.head_dim}), cos, sin);
  at::Tensor k = apply_rope(
      k_proj_.forward(hidden).view({batch, fresh, shape_.kv_heads, shape_.head_dim}), cos, sin);
  at::Tensor v = v_proj_.forward(hidden).view({batch, fresh, shape_.kv_heads, shape_.head_dim});
  if (context.cache != nullptr) {
    const auto all = context.cache->append(context.layer, {k, v});
    k = all[0];
    v = all[1];
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(shape_.head_dim));
  return o_proj_.forward(expanded_attention(q, k, v, context.mask, scale));
}

at::Tensor MhaAttention::step(const at::Tensor& hidden,
                              const at::Tensor& residual,
                              const StepContext& context) const {
  const std::int64_t batch = hidden.size(0);
  const at::Tensor projected = input_proj_.forward(hidden, {&q_proj_, &k_proj_, &v_proj_});
  const kernels::Plane &k = context.planes[0], &v = context.planes[1];
  kernels::rope_append({projected, context.cos, context.sin, {}, k, v, {}, shape_.heads, 0},
                       context.span);
  const at::Tensor q = projected.slice(1, 0, shape_.heads * shape_.head_dim)
                           .view({batch, shape_.heads, shape_.head_dim});
  const at::Tensor out = kernels::mha_decode(
      q, k, v, context.span, 1.0 / std::sqrt(static_cast<double>(shape_.head_dim)));
  return kernels::linear(out.reshape({batch, -1}), o_proj_.weight, o_proj_.bias, residual);
}

void MhaAttention::merge_projections() {
  input_proj_.merge({&q_proj_, &k_proj_, &v_proj_});
}

CacheLayout MhaAttention::cache_layout(CacheMode /*mode*/) const {
  return {{{"k", {shape_.kv_heads, shape_.head_dim}}, {"v", {shape_.kv_heads, shape_.head_dim}}}};
}

void MhaAttention::collect(const std::string& prefix, ParameterList& out) {
  q_proj_.collect(prefix + ".q_proj", out);
  k_proj_.collect(prefix + ".k_proj", out);
  v_proj_.collect(prefix + ".v_proj", out);
  o_proj_.collect(prefix + ".o_proj", out);
}

}  // namespace vmla
