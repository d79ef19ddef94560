// The operations of one decode step: fixed shapes, lengths on the device, no host synchronisation,
// so that a CUDA graph can hold them. Each has a plain ATen reference of the same properties.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/api.h"

namespace vmla::kernels {

// Which cached tokens a query sees: [first[b], count).
struct DecodeSpan {
  at::Tensor first;            // int32 [B]
  at::Tensor count;            // int32 [1], tokens in the cache, the new one included
  std::int64_t max_count = 0;  // what count may come to; decides how the work is split
};

// x [B, E], weight [F, E], bias [F] or undefined, residual [B, F] or undefined -> [B, F]. Up to
// four rows go through a kernel bound by reading the weight; more through the library's GEMM.
at::Tensor linear(const at::Tensor& x,
                  const at::Tensor& weight,
                  const at::Tensor& bias,
                  const at::Tensor& residual,
                  Backend backend = Backend::Auto);

// silu(gate) * up with both projections in one matrix. x [B, E], gate_up [2 * F, E] -> [B, F].
at::Tensor gated_linear(const at::Tensor& x,
                        const at::Tensor& gate_up,
                        Backend backend = Backend::Auto);

// x [B, H, C], weight [K, D, C] -> [B, H, D]; head h reads weight h / (H / K).
at::Tensor heads_linear(const at::Tensor& x,
                        const at::Tensor& weight,
                        Backend backend = Backend::Auto);

// x [B, H, N], weight [K, N, C] -> [B, H, C]: the query's way through up_k into latent space.
at::Tensor heads_linear_transposed(const at::Tensor& x,
                                   const at::Tensor& weight,
                                   Backend backend = Backend::Auto);

struct RopeAppend {
  at::Tensor projected;  // [B, H*R + H*N + K*R + W1 + W2]; its first H*R are rotated in place
  at::Tensor cos, sin;   // [B, D]
  at::Tensor rope_dims;  // int64 [K, R]; undefined: 0 .. R-1
  at::Tensor k_rope;     // [B, capacity, K, R]
  at::Tensor plane_1;    // [B, capacity, …], W1 elements a token
  at::Tensor plane_2;    // [B, capacity, …], or undefined with W2 = 0
  std::int64_t heads = 0;
  std::int64_t nope_dim = 0;
};
// Writes the new token's rotated key and its other planes to cache row count - 1.
void rope_append(const RopeAppend& op, const DecodeSpan& span, Backend backend = Backend::Auto);

// Latent attention of one token. q_rope [B, H, R], q_latent [B, H, C], k_rope [B, capacity, K, R],
// latent [B, capacity, C] -> the weighted latents [B, H, C].
at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const at::Tensor& k_rope,
                      const at::Tensor& latent,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend = Backend::Auto);

// q [B, H, D], k and v [B, capacity, K, D] -> [B, H, D].
at::Tensor mha_decode(const at::Tensor& q,
                      const at::Tensor& k,
                      const at::Tensor& v,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend = Backend::Auto);

// Why the attention kernels cannot take a shape on this machine; nullopt when they can.
std::optional<std::string> why_no_mla_kernel(std::int64_t heads,
                                             std::int64_t kv_heads,
                                             std::int64_t rope_dim,
                                             std::int64_t latent_dim);
std::optional<std::string> why_no_mha_kernel(std::int64_t head_dim);

// The number of splits that keeps `processors` busy with least waste: blocks_per_split blocks a
// split, `tokens` tokens in all, `overhead` in tokens for what a split costs beside them.
std::int64_t plan_splits(std::int64_t tokens,
                         std::int64_t blocks_per_split,
                         std::int64_t processors,
                         std::int64_t overhead,
                         std::int64_t least_tokens);

namespace reference {
at::Tensor linear(const at::Tensor& x,
                  const at::Tensor& weight,
                  const at::Tensor& bias,
                  const at::Tensor& residual);
at::Tensor gated_linear(const at::Tensor& x, const at::Tensor& gate_up);
at::Tensor heads_linear(const at::Tensor& x, const at::Tensor& weight);
at::Tensor heads_linear_transposed(const at::Tensor& x, const at::Tensor& weight);
void rope_append(const RopeAppend& op, const DecodeSpan& span);
at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const at::Tensor& k_rope,
                      const at::Tensor& latent,
                      const DecodeSpan& span,
                      double scale);
at::Tensor mha_decode(const at::Tensor& q,
                      const at::Tensor& k,
                      const at::Tensor& v,
                      const DecodeSpan& span,
                      double scale);
}  // namespace reference

}  // namespace vmla::kernels
