// Importance ranks of rotary dimensions, the .pth format of MHA2MLA: uint8 [L, K, D], 0 = most
// important, both halves of the head carry the same value.
#pragma once

#include <torch/types.h>

#include "base/files.h"

namespace vmla {

// Checks dtype, three dimensions, an even D, equal halves and that each head's half is a
// permutation of 0..D/2-1. Errors: Io, Checkpoint.
at::Tensor read_rank_file(const fs::path& path);  // -> uint8 [L, K, D]
void write_rank_file(const fs::path& path, const at::Tensor& ranks);

}  // namespace vmla
