#include <ATen/ATen.h>

#include <limits>

#include "kernels/decode_ops.h"

namespace vmla::kernels::reference {
namespace {

// bool [B, capacity]
at::Tensor visible(const DecodeSpan& span, std::int64_t capacity) {
  const at::Tensor place = at::arange(capacity, span.count.options());
  return (place >= span.first.unsqueeze(1)).logical_and(place < span.count);
}

// scores [B, H, capacity] -> softmax in fp32 over what is visible.
at::Tensor masked_softmax(const at::Tensor& scores, const at::Tensor& seen, double scale) {
  return (scores.to(at::kFloat) * scale)
      .masked_fill(seen.logical_not().unsqueeze(1), -std::numeric_limits<float>::infinity())
      .softmax(-1);
}

// What stands in unused rows may be NaN, and 0 * NaN is NaN.
at::Tensor without_unseen(const at::Tensor& plane, const at::Tensor& seen) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(plane.dim()), 1);
  shape[0] = seen.size(0);
  shape[1] = seen.size(1);
  return plane.masked_fill(seen.logical_not().view(shape), 0);
}

// x [B, K, *] -> [B, H, *]: each key head for its group of query heads.
at::Tensor for_query_heads(const at::Tensor& x, std::int64_t heads, std::int64_t dim) {
  return x.repeat_interleave(heads / x.size(dim), dim);
}

}  // namespace

at::Tensor linear(const at::Tensor& x,
                  const at::Tensor& weight,
                  const at::Tensor& bias,
                  const at::Tensor& residual) {
  const at::Tensor out = bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
  return residual.defined() ? out + residual : out;
}

at::Tensor gated_linear(const at::Tensor& x, const at::Tensor& gate_up) {
  const auto halves = at::linear(x, gate_up).chunk(2, -1);
  return at::silu(halves[0]) * halves[1];
}

at::Tensor heads_linear(const at::Tensor& x, const at::Tensor& weight) {
  return at::matmul(for_query_heads(weight, x.size(1), 0), x.unsqueeze(-1)).squeeze(-1);
}

at::Tensor heads_linear_transposed(const at::Tensor& x, const at::Tensor& weight) {
  return at::matmul(x.unsqueeze(-2), for_query_heads(weight, x.size(1), 0)).squeeze(-2);
}

void rope_append(const RopeAppend& op, const DecodeSpan& span) {
  const std::int64_t batch = op.projected.size(0), kv_heads = op.k_rope.size(2),
                     rope = op.k_rope.size(3), half = rope / 2;
  const auto turn = [&](const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
    const at::Tensor rotated = at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
    return x * cos + rotated * sin;
  };
  const auto angles = [&](const at::Tensor& table) {  // [B, D] -> [B, K, R]
    return op.rope_dims.defined()
               ? table.index_select(-1, op.rope_dims.reshape(-1)).view({batch, kv_heads, rope})
               : table.slice(-1, 0, rope).unsqueeze(1).expand({batch, kv_heads, rope});
  };
  const at::Tensor cos = angles(op.cos), sin = angles(op.sin);
  std::int64_t begin = 0;
  const auto part = [&](std::int64_t width) {
    begin += width;
    return op.projected.narrow(1, begin - width, width);
  };
  const at::Tensor q = part(op.heads * rope).view({batch, op.heads, rope});
  q.copy_(turn(q, for_query_heads(cos, op.heads, 1), for_query_heads(sin, op.heads, 1)));
  begin += op.heads * op.nope_dim;
  const at::Tensor key = turn(part(kv_heads * rope).view({batch, kv_heads, rope}), cos, sin);
  const at::Tensor place = (span.count - 1).to(at::kLong);
  op.k_rope.index_copy_(1, place, key.unsqueeze(1));
  for (const at::Tensor& plane : {op.plane_1, op.plane_2}) {
    if (!plane.defined()) continue;
    const std::int64_t width = plane[0][0].numel();
    std::vector<std::int64_t> shape = plane.sizes().vec();
    shape[1] = 1;
    plane.index_copy_(1, place, part(width).reshape(shape));
  }
}

at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const at::Tensor& k_rope,
                      const at::Tensor& latent,
                      const DecodeSpan& span,
                      double scale) {
  const std::int64_t heads = q_latent.size(1);
  const at::Tensor seen = visible(span, latent.size(1));
  const at::Tensor keys = without_unseen(latent, seen);  // [B, T, C]
  const at::Tensor rope_keys =
      for_query_heads(without_unseen(k_rope, seen), heads, 2).permute({0, 2, 3, 1});  // [B,H,R,T]
  const at::Tensor scores = at::matmul(q_rope.unsqueeze(-2), rope_keys).squeeze(-2) +
                            at::matmul(q_latent, keys.transpose(1, 2));
  return at::matmul(masked_softmax(scores, seen, scale).to(keys.scalar_type()), keys);
}

at::Tensor mha_decode(const at::Tensor& q,
                      const at::Tensor& k,
                      const at::Tensor& v,
                      const DecodeSpan& span,
                      double scale) {
  const std::int64_t heads = q.size(1);
  const at::Tensor seen = visible(span, k.size(1));
  const auto by_head = [&](const at::Tensor& plane) {  // [B, T, K, D] -> [B, H, T, D]
    return for_query_heads(without_unseen(plane, seen), heads, 2).transpose(1, 2);
  };
  const at::Tensor scores =
      at::matmul(q.unsqueeze(-2), by_head(k).transpose(-2, -1)).squeeze(-2);  // [B, H, T]
  const at::Tensor weights = masked_softmax(scores, seen, scale).to(v.scalar_type());
  return at::matmul(weights.unsqueeze(-2), by_head(v)).squeeze(-2);
}

}  // namespace vmla::kernels::reference
