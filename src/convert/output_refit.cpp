#include "convert/output_refit.h"

#include <ATen/ATen.h>

#include "convert/row_products.h"

namespace vmla {
namespace {

at::Tensor wide(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

}  // namespace

OutputRefit::OutputRefit(const at::Tensor& o_weight) : old_(o_weight.to(at::kDouble)) {
  for (Sums& sums : sums_) {
    sums.inputs = at::zeros({old_.size(1), old_.size(1)}, old_.options());
    sums.cross = at::zeros_like(old_);
    sums.targets = at::zeros({}, old_.options());
  }
}

void OutputRefit::add(const at::Tensor& z, const at::Tensor& target, bool is_text) {
  const at::NoGradGuard no_grad;
  Sums& sums = sums_[is_text ? 1 : 0];
  const at::Tensor in = wide(z);
  sums.inputs += row_squares(in);
  sums.cross += row_products(wide(target), in);
  sums.targets += target.square().sum(at::kDouble);
  sums.tokens += static_cast<double>(z.size(0));
}

at::Tensor OutputRefit::solve(double ridge) const {
  at::Tensor inputs = at::zeros_like(sums_[0].inputs), cross = at::zeros_like(old_);
  for (const Sums& sums : sums_) {
    if (sums.tokens == 0) continue;
    inputs = inputs + sums.inputs / sums.tokens;
    cross = cross + sums.cross / sums.tokens;
  }
  const double weight = ridge * inputs.diagonal().mean().item<double>();
  if (!(weight > 0)) return old_;
  const at::Tensor regular = inputs + weight * at::eye(inputs.size(0), inputs.options());
  const at::Tensor right = (cross + weight * old_).t();
  return at::cholesky_solve(right, at::linalg_cholesky(regular)).t().contiguous();
}

double OutputRefit::error(const at::Tensor& o_weight) const {
  double out = 0.0;
  for (const Sums& sums : sums_) {
    if (sums.tokens == 0) continue;
    const at::Tensor given = o_weight.mm(sums.inputs) - 2 * sums.cross;
    // Rounding may leave a difference of squares a hair below zero.
    const at::Tensor left = (sums.targets + (given * o_weight).sum()).clamp_min(0);
    out += left.item<double>() / sums.tokens;
  }
  return out;
}

}  // namespace vmla
