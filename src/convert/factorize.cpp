#include "convert/factorize.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"

namespace vmla {
namespace {

constexpr std::int64_t kFullSvdSize = 256;

// symmetric [n, n] -> [n, rank], largest eigenvalue first.
at::Tensor leading_eigenvectors(const at::Tensor& symmetric, std::int64_t rank) {
  const at::Tensor vectors = std::get<1>(at::linalg_eigh(symmetric));  // ascending
  return vectors.narrow(1, vectors.size(1) - rank, rank).flip(1).contiguous();
}

// m [rows, cols] double -> orthonormal basis [cols, rank] of the leading right singular vectors.
at::Tensor leading_right_vectors(const at::Tensor& m, std::int64_t rank) {
  if (m.size(0) >= m.size(1)) return leading_eigenvectors(m.t().mm(m), rank);
  // Columns of Mt U are the right vectors times their singular values. Orthonormalising them, the
  // longest first, divides by no small number.
  const at::Tensor left = leading_eigenvectors(m.mm(m.t()), rank);
  return std::get<0>(at::linalg_qr(m.t().mm(left)));
}

}  // namespace

Factors factorize(const at::Tensor& matrix, std::int64_t rank, FactorMethod method) {
  const at::NoGradGuard no_grad;
  const std::int64_t smaller = std::min(matrix.size(0), matrix.size(1));
  check(rank > 0 && rank <= smaller,
        ErrorKind::Internal,
        "rank: expected 1 to {}, got {}",
        smaller,
        rank);
  const at::Tensor m = matrix.to(at::kDouble);
  check(at::isfinite(m).all().item<bool>(),
        ErrorKind::Numeric,
        "weights: expected finite numbers, got NaN or infinity");
  if (method == FactorMethod::Auto)
    method = smaller <= kFullSvdSize ? FactorMethod::FullSvd : FactorMethod::Gram;
  if (method == FactorMethod::FullSvd) {
    const auto [u, s, vt] = at::linalg_svd(m, /*full_matrices=*/false);
    return {u.narrow(1, 0, rank) * s.narrow(0, 0, rank), vt.narrow(0, 0, rank).contiguous()};
  }
  const at::Tensor right = leading_right_vectors(m, rank);
  return {m.mm(right), right.t().contiguous()};
}

}  // namespace vmla
