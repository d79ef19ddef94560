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

at::Tensor damped_root(const at::Tensor& moment, double damping) {
  const at::NoGradGuard no_grad;
  at::Tensor damped = moment.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  check(at::isfinite(damped).all().item<bool>(),
        ErrorKind::Numeric,
        "moments: expected finite numbers, got NaN or infinity");
  damped.diagonal().add_(damped.diagonal().mean() * damping);
  const auto [lower, info] = at::linalg_cholesky_ex(damped);
  // Cholesky divides by what is left of the diagonal, so a nearly singular moment takes the long
  // way.
  const at::Tensor left = lower.diagonal();
  if (info.item<int>() == 0 && (left.min() > left.max() * 1e-6).item<bool>()) return lower;
  const auto [values, vectors] = at::linalg_eigh(damped);
  return vectors * values.clamp_min(0.0).sqrt();
}

WhitenedFactors factorize_whitened(const at::Tensor& matrix,
                                   const at::Tensor& root,
                                   std::int64_t rank,
                                   FactorMethod method) {
  const at::NoGradGuard no_grad;
  const at::Tensor m = matrix.to(root.options());
  const at::Tensor seen = m.mm(root);
  const at::Tensor scaled = factorize(seen, rank, method).up;  // U_r S_r
  WhitenedFactors out;
  // QR keeps the order of the columns and completes them where S_r is zero.
  out.factors.up = std::get<0>(at::linalg_qr(scaled));
  out.factors.down = out.factors.up.t().mm(m);
  const double total = seen.square().sum().item<double>();
  if (total > 0.0) out.retained = std::min(1.0, scaled.square().sum().item<double>() / total);
  return out;
}

at::Tensor whitened_spectrum(const at::Tensor& matrix, const at::Tensor& root) {
  const at::NoGradGuard no_grad;
  const at::Tensor seen = matrix.to(root.options()).mm(root);
  const at::Tensor gram = seen.size(0) < seen.size(1) ? seen.mm(seen.t()) : seen.t().mm(seen);
  return at::linalg_eigvalsh(gram).clamp_min(0.0).flip(0);
}

}  // namespace vmla
