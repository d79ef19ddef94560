#include "nn/fused_attention.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

namespace vmla {
namespace {

// On a GPU in fp32 the fused kernels need some ten times longer, backward above all, than plain
// products on tensor cores (TF32 where that is allowed); these need room for the scores.
bool plain_products_are_faster(const at::Tensor& q, const at::Tensor& k) {
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
  return q.is_cuda() && q.scalar_type() == at::kFloat &&
         q.size(0) * q.size(1) * q.size(2) * k.size(2) * 4 <= kMostBytes;
}

// cuDNN's attention builds a plan for each new shape, 60 ms and more, and a prompt's length is
// nearly always new; training has one shape for long.
class NoPlans {
 public:
  explicit NoPlans(const at::Tensor& q)
      : was_on_(q.is_cuda() && !at::GradMode::is_enabled() &&
                at::globalContext().userEnabledCuDNNSDP()) {
    if (was_on_) at::globalContext().setSDPUseCuDNN(false);
  }
  ~NoPlans() {
    if (was_on_) at::globalContext().setSDPUseCuDNN(true);
  }
  NoPlans(const NoPlans&) = delete;
  NoPlans& operator=(const NoPlans&) = delete;

 private:
  bool was_on_;
};

}  // namespace

at::Tensor fused_attention(const at::Tensor& q,
                           const at::Tensor& k,
                           const at::Tensor& v,
                           const std::optional<at::Tensor>& bias,
                           bool causal,
                           double scale,
                           bool grouped) {
  if (plain_products_are_faster(q, k)) {
    return std::get<0>(at::_scaled_dot_product_attention_math(
        q, k, v, bias, /*dropout_p=*/0.0, causal, /*dropout_mask=*/{}, scale, grouped));
  }
  const NoPlans guard(q);
  return at::scaled_dot_product_attention(q, k, v, bias, /*dropout_p=*/0.0, causal, scale, grouped);
}

}  // namespace vmla
