// What a kernel needs, as plain data. No torch header here: CUDA sources include this.
#pragma once

#include <cstdint>

namespace vmla::kernels {

enum class Scalar { Float32, Float16, BFloat16 };

struct RmsNormParams {
  const void* x;       // [rows, width]
  const void* weight;  // [width]
  void* out;           // [rows, width]
  std::int64_t rows;
  std::int64_t width;
  float eps;
  Scalar scalar;
};

struct SiluMulParams {
  const void* gate;  // [count]
  const void* up;    // [count]
  void* out;         // [count]
  std::int64_t count;
  Scalar scalar;
};

// out[b, i] = sum over k of w[i, k] * x[b, head(i), k], then + residual[b, i]; with gated, row i of
// the second half of w is the up projection and out = silu(gate) * up. Few rows of x only: each
// weight is read once.
struct GemvParams {
  const void* x;          // [batch, heads, width]
  const void* w;          // [kv_heads * rows_per_head, width]; gated: [2 * rows, width]
  const void* bias;       // [rows] or null
  const void* residual;   // [batch, rows] or null
  void* out;              // [batch, rows]
  std::int64_t x_stride;  // elements from one batch row of x to the next
  int batch;
  int rows;           // of out
  int width;          // a multiple of 8
  int heads;          // 1: every row reads the same x
  int rows_per_head;  // rows / heads
  int group;          // heads that share one weight head
  bool gated;
  Scalar scalar;
};

// out[b, h, c] = sum over n of x[b, h, n] * w[h / group, n, c].
struct HeadsGemvParams {
  const void* x;          // [batch, heads, inner], heads packed
  const void* w;          // [heads / group, inner, columns]
  void* out;              // [batch, heads, columns]
  std::int64_t x_stride;  // elements from one batch row of x to the next
  int batch, heads, inner, columns, group;
  Scalar scalar;
};

// Rotates the rotary parts of freshly projected rows and stores keys and values in the cache. A row
// of `projected` is [H*R q | H*N q | K*R k | values…]; MHA is the case N = 0, R = D.
struct RopeAppendParams {
  void* projected;  // [batch, row_stride]; the q part is rotated in place
  const void* cos;  // [batch, head_dim]
  const void* sin;
  const std::int64_t* rope_dims;  // [K, R] into head_dim, or null: 0 .. R-1
  void* k_rope;                   // [batch, capacity, K, R]
  void* plane_1;                  // [batch, capacity, width_1]
  void* plane_2;                  // or null
  const int* count;               // tokens with the new one; it goes to row count - 1
  std::int64_t row_stride;
  std::int64_t k_rope_stride, plane_1_stride, plane_2_stride;  // from batch row to batch row
  int batch, heads, kv_heads, rope_dim, nope_dim, head_dim, width_1, width_2;
  Scalar scalar;
};

// What both decode kernels share: which cached tokens a row sees and how they are split.
struct SplitParams {
  const int* first;  // [batch], first visible token
  const int* count;  // [1], tokens in the cache
  float* partial;    // [batch, splits, heads, width], not normalised
  float* maximum;    // [batch, splits, heads], of the scaled scores, base 2
  float* sum;        // [batch, splits, heads]
  int splits;
  float scale;  // of the scores
};

struct MlaDecodeParams {
  SplitParams split;
  const void* q_rope;    // [batch, heads, rope_dim]
  const void* q_latent;  // [batch, heads, latent_dim]
  const void* k_rope;    // [batch, capacity, kv_heads, rope_dim]
  const void* latent;    // [batch, capacity, latent_dim]
  std::int64_t q_rope_stride, k_rope_stride, latent_stride;  // from batch row to batch row
  int batch, heads, kv_heads, rope_dim, latent_dim;
  Scalar scalar;
};

struct MhaDecodeParams {
  SplitParams split;
  const void* q;  // [batch, heads, head_dim]
  const void* k;  // [batch, capacity, kv_heads, head_dim]
  const void* v;
  std::int64_t q_stride, k_stride, v_stride;  // from batch row to batch row
  int batch, heads, kv_heads, head_dim;
  Scalar scalar;
};

struct MergeParams {
  SplitParams split;
  void* out;  // [batch, heads, width]
  int batch, heads, width;
  Scalar scalar;
};

}  // namespace vmla::kernels
