// A new o_proj for what the converted attention puts out.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>

namespace vmla {

// Ridge regression towards the old o_proj: minimises mean |target - O z|^2 + lambda s |O -
// O_old|^2, s the mean square of z. The two kinds of calibration samples count alike.
class OutputRefit {
 public:
  static constexpr double kRidge = 0.003;

  explicit OutputRefit(const at::Tensor& o_weight);  // [E, H*D]
  // z [N, H*D], target [N, E]: the original stream after attention minus the converted one before
  // it (and minus o_proj's bias).
  void add(const at::Tensor& z, const at::Tensor& target, bool is_text);
  at::Tensor solve(double ridge = kRidge) const;  // [E, H*D] double
  // mean |target - O z|^2 over each kind's tokens, added up. o_weight [E, H*D] double.
  double error(const at::Tensor& o_weight) const;

 private:
  struct Sums {
    at::Tensor inputs, cross;
    at::Tensor targets;  // of |target|^2
    double tokens = 0;
  };
  at::Tensor old_;
  std::array<Sums, 2> sums_;
};

}  // namespace vmla
