#include "convert/tail_energy.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

namespace vmla {
namespace {

constexpr int kFirstSteps = 4, kLaterSteps = 2;
constexpr double kJitter = 1e-13;

double exact(const at::Tensor& gram, std::int64_t width) {
  return at::linalg_eigvalsh(gram)
      .slice(0, 0, std::max<std::int64_t>(0, gram.size(0) - width))
      .clamp_min(0)
      .sum()
      .item<double>();
}

// Orthonormal columns with the span of y's; undefined where they are too nearly dependent.
at::Tensor orthonormal(const at::Tensor& y) {
  const at::Tensor unit = y / y.norm(2, 0, /*keepdim=*/true).clamp_min(1e-300);
  const at::Tensor square = unit.t().mm(unit) + kJitter * at::eye(unit.size(1), unit.options());
  const auto [factor, info] = at::linalg_cholesky_ex(square);
  if (info.item<std::int32_t>() != 0) return {};
  return at::linalg_solve_triangular(factor, unit.t(), /*upper=*/false).t();
}

}  // namespace

double TailEnergy::behind(const at::Tensor& gram, std::int64_t width) {
  const std::int64_t size = gram.size(0), columns = std::min(largest_width_, size);
  if (size < exact_below_ || width >= size) return exact(gram, width);
  const bool first = !directions_.defined();
  at::Tensor q = directions_;
  if (first) {
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{1});
    q = at::randn({size, columns}, generator, at::TensorOptions().dtype(at::kDouble))
            .to(gram.device());
  }
  at::Tensor energies;  // of each direction, descending
  for (int step = 0; step < (first ? kFirstSteps : kLaterSteps); ++step) {
    q = orthonormal(gram.mm(q));
    if (!q.defined()) return exact(gram, width);
    const auto [sorted, order] = (q * gram.mm(q)).sum(0).sort(/*dim=*/0, /*descending=*/true);
    energies = sorted;
    q = q.index_select(1, order);
  }
  directions_ = q;
  const at::Tensor kept = energies.slice(0, 0, std::min(width, columns)).sum();
  return (gram.trace() - kept).clamp_min(0).item<double>();
}

}  // namespace vmla
