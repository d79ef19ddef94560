// The average rotation that stands in for RoPE where a pair loses it.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace vmla {

// A pair without RoPE is not left at angle 0: its score becomes that of
// q' = (alpha q_re + beta q_im, alpha q_im - beta q_re), one scaled rotation per KV head and pair.
struct RopeFold {
  at::Tensor fold;      // [K, D/2, 2]: alpha, beta
  at::Tensor residual;  // [H, D/2]: the score's variance under attention that stays lost
};

// Least squares of the rotated part on the two plain ones, each pair by itself, pooled over a KV
// head's queries with weights sensitivity [H]. pairs as in AttentionMoments, of either kind.
RopeFold fit_rope_fold(const at::Tensor& pairs,
                       const at::Tensor& sensitivity,
                       std::int64_t kv_heads);
// alpha 1, beta 0: what is lost without a fold.
RopeFold no_rope_fold(const at::Tensor& pairs, std::int64_t kv_heads);

// q' of query rows [H*D, X], fold [H, D/2, 2].
at::Tensor fold_queries(const at::Tensor& rows, const at::Tensor& fold);
// F^T rows: what key rows become so that the plain query meets them as the folded one would.
// rows [K*D, X], fold [K, D/2, 2].
at::Tensor fold_into_keys(const at::Tensor& rows, const at::Tensor& fold);
// F C F^T, the second moment of folded queries. queries [H, D, D], fold [H, D/2, 2].
at::Tensor folded_query_moments(const at::Tensor& queries, const at::Tensor& fold);

}  // namespace vmla
