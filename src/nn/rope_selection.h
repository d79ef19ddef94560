// Which rotary dimensions of each head keep their rotation (partial RoPE).
#pragma once

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

}  // namespace vmla
