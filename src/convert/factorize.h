// The best low-rank factorisation of a weight matrix.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace vmla {

// M ~ up * down, in double.
struct Factors {
  at::Tensor up;    // [m, r]; column i has the length of the i-th singular value
  at::Tensor down;  // [r, E]; rows are orthonormal
};

// FullSvd is the recipe as published (up = U_r S_r, down = Vt_r) in double. Gram takes the leading
// eigenvectors of the smaller of M Mt and Mt M instead, 10 times as fast on a 7B layer. Squaring
// costs it the singular values below 1e-8 of the largest, so its error may exceed the least
// possible one by that share of the largest singular value; fp32 storage of the factors costs more.
// Auto: FullSvd up to 256 rows or columns, where time does not matter.
enum class FactorMethod { Auto, FullSvd, Gram };

// matrix [m, E] of any floating dtype; the work is done on its device. Errors: ErrorKind::Numeric
// for NaN or infinity; Internal unless 0 < rank <= min(m, E).
Factors factorize(const at::Tensor& matrix,
                  std::int64_t rank,
                  FactorMethod method = FactorMethod::Auto);

}  // namespace vmla
