#include "convert/factor_optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace vmla {

void FactorOptimizer::add(Attention& attention) {
  ParameterList parameters;
  attention.collect("", parameters);
  for (const NamedParameter& parameter : parameters) {
    if (parameter.name.ends_with(".bias") || parameter.name == ".q_proj.weight") continue;
    const at::Tensor& t = *parameter.tensor;
    const double rms = t.square().mean().sqrt().item<double>();
    factors_.push_back(
        {parameter.tensor, schedule_.learning_rate * rms, at::zeros_like(t), at::zeros_like(t)});
    parameter.tensor->requires_grad_(true);
  }
}

double FactorOptimizer::share_of_rate() const {
  const double warmup = static_cast<double>(std::min(schedule_.warmup_steps, schedule_.steps / 2));
  const double at = static_cast<double>(done_);
  if (at < warmup) return (at + 1) / (warmup + 1);
  const double past = (at - warmup) / std::max(1.0, static_cast<double>(schedule_.steps) - warmup);
  return schedule_.final_share +
         (1 - schedule_.final_share) * 0.5 * (1 + std::cos(std::numbers::pi * past));
}

void FactorOptimizer::step() {
  const at::NoGradGuard no_grad;
  const FactorSchedule& s = schedule_;
  const double share = share_of_rate();
  const double first_bias = 1 - std::pow(s.beta1, static_cast<double>(done_ + 1));
  const double second_bias = 1 - std::pow(s.beta2, static_cast<double>(done_ + 1));
  for (Factor& f : factors_) {
    at::Tensor& gradient = f.tensor->mutable_grad();
    if (!gradient.defined()) continue;
    f.first.mul_(s.beta1).add_(gradient, 1 - s.beta1);
    f.second.mul_(s.beta2).addcmul_(gradient, gradient, 1 - s.beta2);
    const at::Tensor spread = (f.second / second_bias).sqrt_().add_(1e-12);
    f.tensor->addcdiv_(f.first, spread, -f.learning_rate * share / first_bias);
    gradient = at::Tensor();
  }
  ++done_;
}

void FactorOptimizer::release() {
  for (Factor& f : factors_) *f.tensor = f.tensor->detach();
}

std::vector<at::Tensor> FactorOptimizer::values() const {
  std::vector<at::Tensor> out;
  for (const Factor& f : factors_) out.push_back(f.tensor->detach().clone());
  return out;
}

void FactorOptimizer::set_values(const std::vector<at::Tensor>& values) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < factors_.size(); ++i) factors_[i].tensor->copy_(values.at(i));
}

}  // namespace vmla
