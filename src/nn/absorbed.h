// What the absorbed paths of both latent layouts share.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "nn/attention.h"

namespace vmla {

// Whether the absorbed path is to be taken, given which of the two costs less.
bool takes_absorbed_path(const AttentionContext& context, bool absorbed_is_cheaper);

// [B, S, H, X] -> [B, K, G*S, X]: the queries that share a key head side by side.
at::Tensor by_key_head(const at::Tensor& x, std::int64_t kv_heads);
// And back: [B, K, G*S, D] -> [B, S, H*D]. queries: S.
at::Tensor from_key_heads(const at::Tensor& x, std::int64_t queries);

// x [B, K, M, N] times each key head's weight [K, N, C] -> [B, K, M, C]. at::matmul would copy the
// weight for every row of the batch.
at::Tensor times_head_weights(const at::Tensor& x, const at::Tensor& weight);

// q [B, M, C] against latents [B, T, C], the same for all heads -> [B, M, T].
at::Tensor latent_scores(const at::Tensor& q, const at::Tensor& latents);
// q [B, K, M, X] against each key head's own keys [B, T, K, X] -> [B, K, M, T].
at::Tensor head_scores(const at::Tensor& q, const at::Tensor& keys);
// weights [B, M, T], fp32, of latents [B, T, C] -> [B, M, C] in the latents' dtype.
at::Tensor mix_latents(const at::Tensor& weights, const at::Tensor& latents);

// The end of a decode step: latent attention, up_v and o_proj, onto residual [B, E] -> [B, E].
// q_rope [B, H, R], q_latent [B, H, C]; context.planes: the rotary keys and the latents.
at::Tensor latent_step(const at::Tensor& q_rope,
                       const at::Tensor& q_latent,
                       const StepContext& context,
                       double scale,
                       const Linear& up_v,
                       const Linear& o_proj,
                       const AttentionShape& shape,
                       const at::Tensor& residual);

// The softmax in fp32 of scaled scores. scores [B, …, T], the rows in by_key_head's order; mask
// bool [B, 1, S, T] or undefined (causal, no padding) -> of the scores' shape.
at::Tensor absorbed_weights(const at::Tensor& scores,
                            const at::Tensor& mask,
                            std::int64_t queries,
                            double scale);

}  // namespace vmla
