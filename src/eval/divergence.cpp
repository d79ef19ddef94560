#include "eval/divergence.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vmla {

void Divergence::add(const at::Tensor& reference, const at::Tensor& model) {
  // In float64: small divergences are differences of nearly equal numbers.
  const at::Tensor log_p = reference.log_softmax(-1, at::kDouble);
  const at::Tensor log_q = model.to(reference.device()).log_softmax(-1, at::kDouble);
  const at::Tensor sums =
      (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0.0).cpu().contiguous();  // [P]
  const auto* values = sums.const_data_ptr<double>();
  kl.insert(kl.end(), values, values + sums.numel());
  same_top1 +=
      (reference.argmax(-1) == model.to(reference.device()).argmax(-1)).sum().item<std::int64_t>();
}

void Divergence::add(const Divergence& other) {
  kl.insert(kl.end(), other.kl.begin(), other.kl.end());
  same_top1 += other.same_top1;
}

double Divergence::mean() const {
  return std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(kl.size());
}

double Divergence::top1_agreement() const {
  return static_cast<double>(same_top1) / static_cast<double>(kl.size());
}

Json Divergence::to_json() const {
  return {{"kl",
           {{"mean", mean()},
            {"median", quantile(kl, 0.5)},
            {"p95", quantile(kl, 0.95)},
            {"max", *std::max_element(kl.begin(), kl.end())}}},
          {"top1_agreement", 100 * top1_agreement()}};
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - std::floor(place)) * (values[above] - values[below]);
}

}  // namespace vmla
