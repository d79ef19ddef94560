// The rotary dimensions that a selection keeps, as indices.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "nn/rope_selection.h"

namespace vmla {

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

// Ranks that select these dimensions: kept pairs in order, then the others. kept [K, R] -> uint8
// [K, D], both halves alike.
at::Tensor ranks_keeping(const at::Tensor& kept, std::int64_t head_dim);

}  // namespace vmla
