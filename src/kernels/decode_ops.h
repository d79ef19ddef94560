// The operations of one decode step: fixed shapes, lengths on the device, no host synchronisation,
// so that a CUDA graph can hold them. Each has a plain ATen reference of the same properties.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/api.h"
#include "kernels/params.h"

namespace vmla::kernels {

// Which cached tokens a query sees: [first[b], count), and where they lie. Without a table token t
// of row b is planes[b][t]; with one it is planes[table[b][t / block]][t % block].
struct DecodeSpan {
  at::Tensor first;             // int32 [B]
  at::Tensor count;             // int32 [1], tokens in the cache, the new one included
  std::int64_t max_count = 0;   // what count may come to; decides how the work is split
  at::Tensor block_table = {};  // int32 [B, blocks]; undefined: contiguous
};

// A cache plane as it lies in memory: rows of capacity tokens or, under a block table, blocks of a
// power of two >= 16 tokens.
struct Plane {
  at::Tensor payload;  // [B, capacity, …] or [blocks, block, …], contiguous
  at::Tensor scales;   // fp16 [B, capacity, G] or [blocks, block, G]; undefined unless quantised
  Codec codec = Codec::None;
  std::int64_t heads = 1, dim = 0;  // a token's numbers
  std::int64_t group = 0;           // neighbours that share a scale

  Plane() = default;
  // Numbers as they are, [B, capacity, K, D] or [B, capacity, C].
  Plane(const at::Tensor& plain);  // NOLINT(google-explicit-constructor)
  bool defined() const { return payload.defined(); }
  std::int64_t width() const { return heads * dim; }
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
  Plane k_rope;          // [K, R] a token
  Plane plane_1;         // W1 numbers a token
  Plane plane_2;         // W2, or undefined
  std::int64_t heads = 0;
  std::int64_t nope_dim = 0;
};
// Writes the new token's rotated key and its other planes to cache row count - 1, quantised as the
// planes are.
void rope_append(const RopeAppend& op, const DecodeSpan& span, Backend backend = Backend::Auto);

struct SharedRopeAppend {
  at::Tensor projected;  // [B, H*D + 2n + C]
  at::Tensor q_mix;      // [H, n, 2], a complex weight per head and component
  at::Tensor cos, sin;   // [B, D]
  at::Tensor rope_dims;  // int64 [2n]: where a component's real, then imaginary parts are in D
  Plane k_rope;          // [1, 2n] a token
  Plane latent;          // [C] a token
};
// The same where one rope key serves all heads -> the mixed and rotated queries [B, H, 2n].
at::Tensor shared_rope_append(const SharedRopeAppend& op,
                              const DecodeSpan& span,
                              Backend backend = Backend::Auto);

// Latent attention of one token. q_rope [B, H, R], q_latent [B, H, C], k_rope [K, R] a token (K =
// 1: the layout "shared"), latent [C] a token -> the weighted latents [B, H, C].
at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const Plane& k_rope,
                      const Plane& latent,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend = Backend::Auto);

// q [B, H, D], k and v [K, D] a token -> [B, H, D].
at::Tensor mha_decode(const at::Tensor& q,
                      const Plane& k,
                      const Plane& v,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend = Backend::Auto);

// Why the attention kernels cannot take a shape on this machine; nullopt when they can.
std::optional<std::string> why_no_mla_kernel(std::int64_t heads,
                                             std::int64_t kv_heads,
                                             std::int64_t rope_dim,
                                             std::int64_t latent_dim,
                                             Codec rope_codec = Codec::None,
                                             Codec latent_codec = Codec::None);
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
at::Tensor shared_rope_append(const SharedRopeAppend& op, const DecodeSpan& span);
at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const Plane& k_rope,
                      const Plane& latent,
                      const DecodeSpan& span,
                      double scale);
at::Tensor mha_decode(
    const at::Tensor& q, const Plane& k, const Plane& v, const DecodeSpan& span, double scale);
}  // namespace reference

}  // namespace vmla::kernels
