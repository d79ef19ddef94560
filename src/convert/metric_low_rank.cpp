#include "convert/metric_low_rank.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"

namespace vmla {
namespace {

constexpr double kDamping = 0.01;  // of the mean diagonal

// sum over heads of rows_h^T metric_h rows_h: rows [K*N, E], metric [K, N, N] -> [E, E].
at::Tensor weighted_square(const at::Tensor& rows, const at::Tensor& metric) {
  if (rows.size(0) == 0) return at::zeros({rows.size(1), rows.size(1)}, rows.options());
  const at::Tensor by_head = rows.unflatten(0, {metric.size(0), -1});
  return rows.t().mm(at::matmul(metric, by_head).flatten(0, 1));
}

}  // namespace

std::vector<double> tail_sums(const at::Tensor& values) {
  const at::Tensor on_cpu = values.to(at::kDouble).cpu().contiguous();
  const auto* value = on_cpu.const_data_ptr<double>();
  std::vector<double> out(static_cast<std::size_t>(on_cpu.size(0)) + 1, 0.0);
  for (std::size_t i = out.size() - 1; i > 0; --i) out[i - 1] = out[i] + value[i - 1];
  return out;
}

LatentSpace::LatentSpace(const LatentProblem& problem)
    : values_(problem.values), key_metric_(problem.key_metric) {
  const at::Tensor& cx = problem.inputs;
  const double mean = cx.diagonal().mean().item<double>();
  check(mean > 0, ErrorKind::Numeric, "calibration: expected activations, got zeros");
  root_ = at::linalg_cholesky(cx + kDamping * mean * at::eye(cx.size(0), cx.options()));
  of_values_ = root_.t().mm(weighted_square(values_, problem.value_metric)).mm(root_);
}

at::Tensor LatentSpace::gram(const at::Tensor& keys) const {
  const at::Tensor all = of_values_ + root_.t().mm(weighted_square(keys, key_metric_)).mm(root_);
  return (all + all.t()) / 2;
}

LatentFactorization::LatentFactorization(const LatentSpace& space,
                                         const at::Tensor& keys,
                                         at::ScalarType eigen)
    : keys_(keys), values_(space.values()), root_(space.root()) {
  const auto [values, vectors] = at::linalg_eigh(space.gram(keys).to(eigen));  // ascending
  energies_ = values.to(at::kDouble).flip(0).clamp_min(0);
  vectors_ = vectors.to(at::kDouble).flip(1).contiguous();
  tails_ = tail_sums(energies_);
}

double LatentFactorization::dropped(std::int64_t width) const {
  return tails_.at(static_cast<std::size_t>(std::min(width, energies_.size(0))));
}

LatentFactorization::Factors LatentFactorization::take(std::int64_t width) const {
  const at::Tensor basis = vectors_.slice(1, 0, width);
  const at::Tensor singular = energies_.slice(0, 0, width).sqrt();
  // Directions that save nothing keep a length of their own.
  const at::Tensor length = singular.clamp_min(1e-6 * singular.max().clamp_min(1e-30));
  Factors out;
  out.down =
      at::linalg_solve_triangular(root_.t(), basis, /*upper=*/true).t() * length.unsqueeze(1);
  const at::Tensor back = root_.mm(basis) / length;
  out.up_k = keys_.mm(back);
  out.up_v = values_.mm(back);
  return out;
}

}  // namespace vmla
