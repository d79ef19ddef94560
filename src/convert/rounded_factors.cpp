#include "convert/rounded_factors.h"

#include <ATen/ATen.h>

namespace vmla {

RoundedFactors::RoundedFactors(Attention& attention, at::ScalarType dtype) {
  ParameterList parameters;
  attention.collect("", parameters);
  for (const NamedParameter& parameter : parameters) {
    const at::Tensor& master = *parameter.tensor;
    factors_.push_back({parameter.tensor, master, master.detach().to(dtype)});
    if (master.requires_grad()) factors_.back().copy.requires_grad_(true);
  }
}

void RoundedFactors::open() {
  const at::NoGradGuard no_grad;
  for (Factor& f : factors_) {
    if (f.copy.requires_grad()) f.copy.copy_(f.master);
    *f.place = f.copy;
  }
}

void RoundedFactors::collect_gradients() {
  const at::NoGradGuard no_grad;
  for (Factor& f : factors_) {
    at::Tensor& gradient = f.copy.mutable_grad();
    if (!gradient.defined()) continue;
    at::Tensor& sum = f.master.mutable_grad();
    if (sum.defined()) {
      sum.add_(gradient);
    } else {
      sum = gradient.to(f.master.scalar_type());
    }
    gradient = at::Tensor();
  }
}

void RoundedFactors::close() {
  for (Factor& f : factors_) *f.place = f.master;
}

}  // namespace vmla
