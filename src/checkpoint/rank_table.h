// Importance ranks of rotary dimensions as plain numbers.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "base/files.h"

namespace vmla {

struct RankTable {
  std::vector<std::int64_t> shape;  // {L, K, D}
  std::vector<std::uint8_t> ranks;  // [L, K, D]
};

// Reads and checks a rank file (checkpoint/rank_file.h says what it holds). Errors: Io, Checkpoint.
RankTable read_rank_table(const fs::path& path);

// Errors: Checkpoint, unless they are the dtype and shape of ranks.
void check_rank_shape(at::ScalarType dtype,
                      const std::vector<std::int64_t>& shape,
                      const fs::path& path);
// Errors: Checkpoint, unless both halves of each head are equal and each half is a permutation of
// 0..D/2-1.
void check_ranks(const RankTable& table, const fs::path& path);

}  // namespace vmla
