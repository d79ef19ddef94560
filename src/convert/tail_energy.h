// How much of a positive matrix stands behind its largest directions.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace vmla {

// For matrices that resemble each other, asked one after the other. Below `exact_below` rows the
// eigenvalues are computed; else a few steps of subspace iteration from the last matrix's
// directions find the sum within some percent, never below it, with a tenth of the work.
class TailEnergy {
 public:
  // Of all widths that will be asked for, the largest.
  explicit TailEnergy(std::int64_t largest_width, std::int64_t exact_below = 1024)
      : largest_width_(largest_width), exact_below_(exact_below) {}

  // gram [E, E], double, symmetric -> the sum of its eigenvalues behind the `width` largest.
  double behind(const at::Tensor& gram, std::int64_t width);

 private:
  std::int64_t largest_width_, exact_below_;
  at::Tensor directions_;  // [E, largest_width], orthonormal, the largest first
};

}  // namespace vmla
