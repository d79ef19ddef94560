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

// L with L Lt = moment + damping * mean(diag moment) * I. moment [E, E], symmetric and positive
// semidefinite; a singular one is fine. Errors: Numeric for NaN or infinity.
at::Tensor damped_root(const at::Tensor& moment, double damping);

// The matrix of this rank that is nearest to M on inputs x with E[x xt] = root roott: the least
// |(M - up down) root|. The classic M root = U S Vt gives up down = U_r Ut_r M, so that nothing is
// inverted, and directions that no input has shown cannot spoil the others.
struct WhitenedFactors {
  Factors factors;        // up [m, r] orthonormal, what explains most first; down = upt M
  double retained = 1.0;  // share of |M root|^2
};
WhitenedFactors factorize_whitened(const at::Tensor& matrix,
                                   const at::Tensor& root,
                                   std::int64_t rank,
                                   FactorMethod method = FactorMethod::Auto);

// Squared singular values of matrix root, largest first: [min(m, E)] double.
at::Tensor whitened_spectrum(const at::Tensor& matrix, const at::Tensor& root);

}  // namespace vmla
