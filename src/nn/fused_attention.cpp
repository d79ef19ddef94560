#include "nn/fused_attention.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <array>
#include <map>
#include <mutex>

namespace vmla {
namespace {

// On a GPU in fp32 the fused kernels need some ten times longer, backward above all, than plain
// products on tensor cores (TF32 where that is allowed); these need room for the scores.
bool plain_products_are_faster(const at::Tensor& q, const at::Tensor& k) {
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
  return q.is_cuda() && q.scalar_type() == at::kFloat &&
         q.size(0) * q.size(1) * q.size(2) * k.size(2) * 4 <= kMostBytes;
}

// In inference cuDNN gets what comes again and again; training has one shape for long.
bool is_new_to_inference(const at::Tensor& q, const at::Tensor& k, bool causal) {
  if (!q.is_cuda() || at::GradMode::is_enabled()) return false;
  // Some prompts of a 7B model, each with its layers.
  constexpr std::int64_t kKnown = 100;
  constexpr std::size_t kMostShapes = 1024;
  using Shape = std::array<std::int64_t, 6>;
  static std::mutex mutex;
  static std::map<Shape, std::int64_t> seen;
  const std::lock_guard lock(mutex);
  if (seen.size() > kMostShapes) seen.clear();
  return ++seen[{q.size(0), q.size(1), q.size(2), q.size(3), k.size(2), causal ? 1 : 0}] <= kKnown;
}

}  // namespace

WithoutAttentionPlans::WithoutAttentionPlans(bool wanted)
    : off_(wanted && at::globalContext().userEnabledCuDNNSDP()) {
  if (off_) at::globalContext().setSDPUseCuDNN(false);
}

WithoutAttentionPlans::~WithoutAttentionPlans() {
  if (off_) at::globalContext().setSDPUseCuDNN(true);
}

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
  const WithoutAttentionPlans guard(is_new_to_inference(q, k, causal));
  return at::scaled_dot_product_attention(q, k, v, bias, /*dropout_p=*/0.0, causal, scale, grouped);
}

}  // namespace vmla
