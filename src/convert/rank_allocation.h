// A global budget of latent dims spread over layers.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace vmla {

// One latent that may be wide or narrow.
struct LatentBranch {
  std::vector<double> spectrum;  // squared singular values, largest first; its length is the most
  std::int64_t layer = 0;        // its place, from 0
};

// CARE's greedy allocation (reference in docs/conversion.md): all branches begin with half of the
// mean, and one dim at a time goes to the branch with the largest
//
//   (s_k^2 / total) / (1 - explained(k)) * sqrt((L - layer) / ((L + 1) / 2)) / sqrt(k / least)
//
// until total_dims are given; none gets more than twice the mean, nor more than it has. The first
// of equals wins. total_dims beyond what fits are left over.
std::vector<std::int64_t> allocate_ranks(const std::vector<LatentBranch>& branches,
                                         std::int64_t layers,
                                         std::int64_t total_dims);

}  // namespace vmla
