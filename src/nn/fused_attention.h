// libtorch's attention with the choice among its kernels that suits inference and fits.
#pragma once

#include <torch/types.h>

#include <optional>

namespace vmla {

// scaled_dot_product_attention. q [B, H, S, D]; k, v [B, K, T, D]; bias: its mask, a bool or an
// addend that spreads to [B, H, S, T]; causal: the triangle of equally many queries and keys;
// grouped: H is a multiple of K. -> [B, H, S, D]
at::Tensor fused_attention(const at::Tensor& q,
                           const at::Tensor& k,
                           const at::Tensor& v,
                           const std::optional<at::Tensor>& bias,
                           bool causal,
                           double scale,
                           bool grouped);

// While it lives libtorch's attention does without cuDNN's, which is up to twice as fast but builds
// a plan for each new shape, 60 ms and more; a prompt's length is nearly always new. wanted false:
// nothing changes. The switch is one for the process.
class WithoutAttentionPlans {
 public:
  explicit WithoutAttentionPlans(bool wanted = true);
  ~WithoutAttentionPlans();
  WithoutAttentionPlans(const WithoutAttentionPlans&) = delete;
  WithoutAttentionPlans& operator=(const WithoutAttentionPlans&) = delete;

 private:
  bool off_;
};

}  // namespace vmla
