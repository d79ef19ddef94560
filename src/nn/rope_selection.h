// Which rotary dimensions of each head keep their rotation (partial RoPE).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace vmla {

// Source: MHA2MLA's partial_rope_mask. The original's names are "high", "low", "uniform", "2-norm";
// "kl" selects by a rank file just as "2-norm" does.
struct RopeSelection {
  std::string version = "high";
  std::int64_t rope_dim = 16;  // R
  std::int64_t uniform_start_point = 0;

  bool needs_ranks() const { return version == "2-norm" || version == "kl"; }
};

// R even and 0 < R <= D; uniform: R divides D and the step divides D/2, 0 <= start < D/R.
// Errors: ErrorKind::Usage naming the flag.
void check_rope_selection(const RopeSelection& selection, std::int64_t head_dim);

// Kept dimensions, ascending: int64 [K, R], values in [0, D). The first R/2 of a row lie in the
// head's first half and the others are their partners at + D/2, so rotate-half works on the kept
// rows as they stand. ranks: uint8 [K, D] of this layer; only read when needs_ranks().
at::Tensor kept_rope_dims(const RopeSelection& selection,
                          std::int64_t num_key_value_heads,
                          std::int64_t head_dim,
                          const at::Tensor& ranks);

// The rows of a [heads * D, E] projection in the order of the converted q_proj: all heads' kept
// rows head by head, then all heads' other rows. kept [K, R] -> int64 [heads * D]; heads is a
// multiple of K (query groups share).
at::Tensor reordered_rows(const at::Tensor& kept, std::int64_t heads, std::int64_t head_dim);

}  // namespace vmla
