#include "nn/partial_rope.h"

#include <ATen/ATen.h>

#include "nn/rope.h"

namespace vmla {

PartialRope partial_rope(const at::Tensor& q,
                         const at::Tensor& k,
                         const at::Tensor& cos,
                         const at::Tensor& sin,
                         const at::Tensor& dims,
                         const MlaShape& shape) {
  const AttentionShape& a = shape.attention;
  const std::int64_t batch = q.size(0), tokens = q.size(1), rope = shape.rope_dim;
  const std::int64_t group = a.heads / a.kv_heads, rotated = a.heads * rope;
  const auto angles = [&](const at::Tensor& table) {  // [B or 1, S, K, R]
    return table.index_select(-1, dims.to(table.device()))
        .view({table.size(0), table.size(1), a.kv_heads, rope});
  };
  const at::Tensor kept_cos = angles(cos), kept_sin = angles(sin);
  // One split, whose gradient is one concatenation.
  const auto parts = q.split_with_sizes({rotated, q.size(-1) - rotated}, -1);
  return {apply_rope(parts[0].reshape({batch, tokens, a.heads, rope}),
                     kept_cos.repeat_interleave(group, 2),
                     kept_sin.repeat_interleave(group, 2)),
          parts[1].reshape({batch, tokens, a.heads, shape.nope_dim()}),
          apply_rope(k.view({batch, tokens, a.kv_heads, rope}), kept_cos, kept_sin)};
}

}  // namespace vmla
