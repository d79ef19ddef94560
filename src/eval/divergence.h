// How far one model's next-token distributions are from another's.
#pragma once

#include <torch/types.h>

#include <vector>

#include "base/json.h"

namespace vmla {

// One entry a position.
struct Divergence {
  std::vector<double> kl;  // KL(reference || model), in nats
  std::int64_t same_top1 = 0;

  // reference, model: fp32 logits [P, V].
  void add(const at::Tensor& reference, const at::Tensor& model);
  void add(const Divergence& other);
  double mean() const;
  double top1_agreement() const;  // in [0, 1]
  std::int64_t positions() const { return static_cast<std::int64_t>(kl.size()); }
  // {"kl": {mean, median, p95, max}, "top1_agreement": in percent}
  Json to_json() const;
};

// As NumPy's percentile with linear interpolation; share in [0, 1], values not empty.
double quantile(std::vector<double> values, double share);

}  // namespace vmla
