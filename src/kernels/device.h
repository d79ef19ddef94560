// The seam between the torch-facing half and a device's kernels: kernels/cuda or kernels/no_cuda
// defines these.
#pragma once

#include "kernels/params.h"

namespace vmla::kernels {

// What the decode kernels leave in split.partial: fp32 sums that are not normalised (mha_decode),
// or rows of the output's 16-bit type, each divided by its split's sum (mla_decode, whose rows are
// long enough that writing and reading them takes its time).
enum class Partials { Sums, Rows };

// What merge_splits does with Partials::Rows, and then out[b, h, i] = sum over c of w[h / group, i,
// c] * merged[b, h, c].
struct MergeValuesParams {
  SplitParams split;
  const void* w;  // [heads / group, rows, width]
  void* out;      // [batch, heads, rows]
  int batch, heads, width, rows, group;
  Scalar scalar;
};

// Whether this build holds CUDA kernels at all.
bool built_with_cuda();
// torch's current stream of the current device.
void* current_stream();

// Each launch returns nullptr or CUDA's error text.
const char* launch_rms_norm(const RmsNormParams& params, void* stream);
const char* launch_silu_mul(const SiluMulParams& params, void* stream);
const char* launch_gemv(const GemvParams& params, void* stream);
const char* launch_skinny(const GemvParams& params, void* stream);
const char* launch_heads_gemv(const HeadsGemvParams& params, void* stream);
const char* launch_rope_append(const RopeAppendParams& params, void* stream);
const char* launch_append_query(const RopeAppendParams& append,
                                const HeadsGemvParams& product,
                                void* stream);
const char* launch_shared_rope_append(const SharedRopeAppendParams& params, void* stream);
const char* launch_mla_decode(const MlaDecodeParams& params, void* stream);
const char* launch_mha_decode(const MhaDecodeParams& params, void* stream);
const char* launch_merge_splits(const MergeParams& params, Partials partials, void* stream);
const char* launch_merge_values(const MergeValuesParams& params, void* stream);

// Why launch_mla_decode cannot take a shape; nullptr when it can. Plain arithmetic, no device.
const char* why_no_mla_decode(int heads,
                              int kv_heads,
                              int rope_dim,
                              int latent_dim,
                              Codec rope_codec,
                              Codec latent_codec,
                              bool paged);
const char* why_no_mha_decode(int head_dim);
const char* why_no_merge_values(int batch, int splits, int width, int rows);
const char* why_no_skinny(int batch, int rows_per_head, int width);
// Streaming multiprocessors of the current device.
int multiprocessors();

}  // namespace vmla::kernels
