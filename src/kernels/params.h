// What a kernel needs, as plain data. No torch header here: CUDA sources include this.
#pragma once

#include <cstdint>

namespace vmla::kernels {

enum class Scalar { Float32, Float16, BFloat16 };

// How a cache plane's numbers are stored: as they are, or quantised (bytes: nn/plane_codec.h).
enum class Codec { None, Int8, Fp8, Int4 };

// A cache plane as it lies in memory, one token's bytes after the other's.
struct PlaneParams {
  void* payload;  // [slots, bytes of a token]; null: there is no such plane
  void* scales;   // fp16 [slots, ceil(width / group)]; null unless quantised
  Codec codec;
  int width;  // numbers a token
  int group;  // neighbours that share a scale
};

// Which slot of its planes token t of row b has: b * capacity + t, or with a table
// table[b, t / block] * block + t % block.
struct PageParams {
  const int* table;  // [batch, blocks], or null
  int blocks;        // a row of the table
  int block_bits;    // block = 1 << block_bits
  int capacity;
};

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
  const void* gate;  // [rows, width]
  const void* up;    // [rows, width]
  void* out;         // [rows, width], packed
  std::int64_t rows;
  std::int64_t width;
  std::int64_t stride;  // elements from one row of gate, and of up, to the next
  Scalar scalar;
};

// out[b, i] = sum over k of w[i, k] * x[b, head(i), k], then + residual[b, i]; with gated, row i of
// the second half of w is the up projection and out = silu(gate) * up. Few rows of x only: each
// weight is read once. Two kernels take it: gemv (1 to 4 rows, any shape), skinny (2 to 32).
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
  PlaneParams k_rope;             // [K, R] a token
  PlaneParams plane_1, plane_2;   // the second may be missing
  PageParams pages;
  const int* count;  // tokens with the new one; it goes to row count - 1
  std::int64_t row_stride;
  int batch, heads, kv_heads, rope_dim, nope_dim, head_dim;
  Scalar scalar;
};

// The same for the layout whose rope key is one for all heads: a row of `projected` is
// [H*D q | 2n k | C latent], each head's query is mixed into n complex components and rotated.
struct SharedRopeAppendParams {
  const void* projected;  // [batch, row_stride]
  const void* q_mix;      // [heads, n, 2]
  const void* cos;        // [batch, head_dim]
  const void* sin;
  const std::int64_t* rope_dims;  // [2n] into head_dim
  void* q_rope;                   // [batch, heads, 2n]
  PlaneParams k_rope;             // [2n] a token
  PlaneParams latent;             // [C] a token
  PageParams pages;
  const int* count;
  std::int64_t row_stride;
  int batch, heads, components, head_dim;
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
  PageParams pages;
  PlaneParams k_rope;          // [kv_heads, rope_dim] a token
  PlaneParams latent;          // [latent_dim] a token
  const void* q_rope;          // [batch, heads, rope_dim]
  const void* q_latent;        // [batch, heads, latent_dim]
  std::int64_t q_rope_stride;  // from batch row to batch row
  int batch, heads, kv_heads, rope_dim, latent_dim;
  Scalar scalar;
};

struct MhaDecodeParams {
  SplitParams split;
  PageParams pages;
  PlaneParams k, v;       // [kv_heads, head_dim] a token
  const void* q;          // [batch, heads, head_dim]
  std::int64_t q_stride;  // from batch row to batch row
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
