#include "nn/absorbed.h"

#include <ATen/ATen.h>

#include <limits>
#include <vector>

#include "kernels/latent_values.h"
#include "nn/mask.h"

namespace vmla {
namespace {

// oneDNN, which multiplies 16-bit numbers on the CPU, compiles a kernel for each number of tokens,
// so a new one at every step. In fp32 that is not so.
at::Tensor wide(const at::Tensor& x) {
  return x.is_cpu() && x.element_size() == 2 ? x.to(at::kFloat) : x;
}

}  // namespace

bool takes_absorbed_path(const AttentionContext& context, bool absorbed_is_cheaper) {
  return context.path == AttentionPath::Absorbed ||
         (context.path == AttentionPath::Auto && context.cache != nullptr && absorbed_is_cheaper);
}

at::Tensor by_key_head(const at::Tensor& x, std::int64_t kv_heads) {
  const std::int64_t batch = x.size(0), queries = x.size(1), group = x.size(2) / kv_heads;
  return x.reshape({batch, queries, kv_heads, group, -1})
      .permute({0, 2, 3, 1, 4})
      .reshape({batch, kv_heads, group * queries, -1});
}

at::Tensor from_key_heads(const at::Tensor& x, std::int64_t queries) {
  const std::int64_t batch = x.size(0), kv_heads = x.size(1), dim = x.size(3);
  return x.view({batch, kv_heads, -1, queries, dim})
      .permute({0, 3, 1, 2, 4})
      .reshape({batch, queries, -1});
}

at::Tensor times_head_weights(const at::Tensor& x, const at::Tensor& weight) {
  const std::int64_t batch = x.size(0), kv_heads = x.size(1), rows = x.size(2);
  return at::bmm(x.transpose(0, 1).reshape({kv_heads, batch * rows, -1}), weight)
      .view({kv_heads, batch, rows, -1})
      .transpose(0, 1);
}

at::Tensor latent_scores(const at::Tensor& q, const at::Tensor& latents) {
  return at::bmm(wide(q), wide(latents).transpose(1, 2));
}

at::Tensor head_scores(const at::Tensor& q, const at::Tensor& keys) {
  const at::Tensor by_head = wide(keys).permute({0, 2, 3, 1});  // [B, K, X, T]
  if (!q.is_cpu()) return at::matmul(q, by_head);
  // at::matmul would copy the keys of a batch.
  std::vector<at::Tensor> scores;
  for (std::int64_t b = 0; b < q.size(0); ++b) scores.push_back(at::bmm(wide(q[b]), by_head[b]));
  return at::stack(scores);
}

at::Tensor mix_latents(const at::Tensor& weights, const at::Tensor& latents) {
  const at::Tensor values = wide(latents);
  return at::bmm(weights.to(values.scalar_type()), values).to(latents.scalar_type());
}

at::Tensor latent_step(const at::Tensor& q_rope,
                       const at::Tensor& q_latent,
                       const StepContext& context,
                       double scale,
                       const Linear& up_v,
                       const Linear& o_proj,
                       const AttentionShape& shape,
                       const at::Tensor& residual) {
  at::Tensor out = kernels::mla_decode_values(
      q_rope,
      q_latent,
      context.planes[0],
      context.planes[1],
      context.span,
      scale,
      up_v.weight.view({shape.kv_heads, shape.head_dim, q_latent.size(2)}));  // [B, H, D]
  if (up_v.bias.defined()) {
    out = out + up_v.bias.view({shape.kv_heads, shape.head_dim})
                    .repeat_interleave(shape.heads / shape.kv_heads, 0);
  }
  return kernels::linear(out.reshape({out.size(0), -1}), o_proj.weight, o_proj.bias, residual);
}

at::Tensor absorbed_weights(const at::Tensor& scores,
                            const at::Tensor& mask,
                            std::int64_t queries,
                            double scale) {
  const std::int64_t tokens = scores.size(-1);
  at::Tensor scaled = scores.to(at::kFloat) * scale;
  at::Tensor visible = mask;
  if (!visible.defined() && queries > 1) {
    visible = causal_mask(at::ones({1, tokens}, scaled.options().dtype(at::kBool)), queries);
  }
  if (visible.defined()) {
    scaled = scaled.view({scores.size(0), -1, queries, tokens})
                 .masked_fill(visible.logical_not(), -std::numeric_limits<float>::infinity())
                 .view_as(scores);
  }
  return scaled.softmax(-1);
}

}  // namespace vmla
