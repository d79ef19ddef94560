#include "convert/pair_divergence.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace vmla {
namespace {

// Dims j and j + D/2 of the head, turned and as they were: x, rotated [B, S, heads, D] -> [B,
// heads, S, 4] double.
at::Tensor pair_features(const at::Tensor& rotated, const at::Tensor& x, std::int64_t pair) {
  const std::int64_t half = x.size(3) / 2;
  const auto take = [&](const at::Tensor& t) {
    return at::stack({t.select(3, pair), t.select(3, pair + half)}, -1);
  };
  return at::cat({take(rotated), take(x)}, -1).to(at::kDouble).transpose(1, 2);
}

}  // namespace

void PairDivergence::add(const AttentionView& view, const StreamBatch& batch) {
  const at::NoGradGuard no_grad;
  const std::int64_t kv_heads = view.k.size(2), half = view.k.size(3) / 2;
  const std::int64_t group = view.q.size(2) / kv_heads;
  if (!sums_.defined()) sums_ = at::zeros({2, kv_heads, half}, view.q.options().dtype(at::kDouble));
  const at::Tensor log_probs = attention_log_probs(view.q_rot, view.k_rot);  // [B, H, S, S]
  const at::Tensor probs = log_probs.exp();
  const at::Tensor hidden = log_probs.isinf();
  const at::Tensor image = batch.image.unsqueeze(1).to(at::kDouble);  // [B, 1, S]
  const at::Tensor text = batch.text().unsqueeze(1).to(at::kDouble);
  const double scale = 1.0 / std::sqrt(static_cast<double>(view.q.size(3)));
  const at::Tensor sign = at::tensor({-scale, -scale, scale, scale}, probs.options());
  for (std::int64_t pair = 0; pair < half; ++pair) {
    const at::Tensor q = pair_features(view.q_rot, view.q, pair) * sign;
    const at::Tensor k = pair_features(view.k_rot, view.k, pair).repeat_interleave(group, 1);
    // How the logits change when the pair stands still.
    const at::Tensor change = at::matmul(q, k.transpose(2, 3)).masked_fill(hidden, 0.0);
    const at::Tensor divergence =
        (log_probs + change).logsumexp(-1) - (probs * change).sum(-1);  // [B, H, S]
    const auto add_to = [&](std::int64_t modality, const at::Tensor& weight) {
      sums_[modality].select(1, pair) +=
          (divergence * weight).sum(-1).sum(0).view({kv_heads, group}).sum(1);
    };
    add_to(0, image);
    add_to(1, text);
  }
  image_queries_ += image.sum().item<double>();
  text_queries_ += text.sum().item<double>();
}

at::Tensor PairDivergence::image() const {
  return (sums_[0] / std::max(1.0, image_queries_)).to(at::kCPU);
}

at::Tensor PairDivergence::text() const {
  return (sums_[1] / std::max(1.0, text_queries_)).to(at::kCPU);
}

at::Tensor PairDivergence::scores(double image_weight) const {
  const auto [image, text] = modality_weights(image_queries_, text_queries_, image_weight);
  const at::Tensor scores = (sums_[0] * image + sums_[1] * text).to(at::kCPU);
  check(at::isfinite(scores).all().item<bool>(),
        ErrorKind::Numeric,
        "kl: expected finite scores, got NaN or infinity");
  return scores;
}

}  // namespace vmla
