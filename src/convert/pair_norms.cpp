#include "convert/pair_norms.h"

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "base/error.h"

namespace vmla {
namespace {

// states [B, S, heads * D], real bool [B, S] -> sum over samples of the mean over real tokens
// [heads, D/2] double.
at::Tensor summed_means(const at::Tensor& states, const at::Tensor& real, std::int64_t head_dim) {
  const at::Tensor pairs = states.unflatten(-1, {-1, 2, head_dim / 2}).to(at::kFloat);
  const at::Tensor lengths = pairs.square().sum(3).sqrt();  // [B, S, heads, D/2]
  const at::Tensor weight =
      (real / real.sum(1, /*keepdim=*/true).to(at::kDouble)).unsqueeze(-1).unsqueeze(-1);
  return (lengths * weight).sum(1).sum(0);
}

}  // namespace

PairNorms::PairNorms(Vlm& model) : shape_(model.config().text.attention_shape()) {
  std::map<std::string, const at::Tensor*> by_name;
  for (const NamedParameter& parameter : model.parameters())
    by_name[parameter.name] = parameter.tensor;
  const auto find = [&](const std::string& name) {
    const auto it = by_name.find(name);
    return it == by_name.end() ? nullptr : it->second;
  };
  const auto options = at::TensorOptions().dtype(at::kDouble).device(model.device());
  for (std::int64_t i = 0; i < model.config().text.num_hidden_layers; ++i) {
    const std::string prefix = fmt::format("language_model.model.layers.{}.self_attn.", i);
    Layer layer{find(prefix + "q_proj.weight"),
                find(prefix + "q_proj.bias"),
                find(prefix + "k_proj.weight"),
                find(prefix + "k_proj.bias"),
                at::zeros({shape_.heads, shape_.head_dim / 2}, options),
                at::zeros({shape_.kv_heads, shape_.head_dim / 2}, options)};
    check(layer.q_weight != nullptr && layer.k_weight != nullptr,
          ErrorKind::Unsupported,
          "{}: expected q_proj and k_proj of multi-head attention",
          prefix);
    layers_.push_back(std::move(layer));
  }
}

void PairNorms::add(std::int64_t index, const at::Tensor& hidden, const at::Tensor& real) {
  const at::NoGradGuard no_grad;
  Layer& layer = layers_.at(static_cast<std::size_t>(index));
  const auto project = [&](const at::Tensor* weight, const at::Tensor* bias) {
    return at::linear(hidden, *weight, bias != nullptr ? *bias : at::Tensor());
  };
  layer.q_sum += summed_means(project(layer.q_weight, layer.q_bias), real, shape_.head_dim);
  layer.k_sum += summed_means(project(layer.k_weight, layer.k_bias), real, shape_.head_dim);
}

at::Tensor PairNorms::mean_over_samples(at::Tensor Layer::*sum) const {
  check(samples_ > 0, ErrorKind::Internal, "2-norm: expected at least one sample");
  std::vector<at::Tensor> sums;
  for (const Layer& layer : layers_) sums.push_back((layer.*sum).to(at::kCPU));
  return at::stack(sums) / static_cast<double>(samples_);
}

at::Tensor PairNorms::query_norms() const {
  return mean_over_samples(&Layer::q_sum);
}

at::Tensor PairNorms::key_norms() const {
  return mean_over_samples(&Layer::k_sum);
}

at::Tensor PairNorms::scores() const {
  const at::Tensor grouped = query_norms().unflatten(1, {shape_.kv_heads, -1});
  at::Tensor scores = (grouped * key_norms().unsqueeze(2)).sum(2);
  check(at::isfinite(scores).all().item<bool>(),
        ErrorKind::Numeric,
        "2-norm: expected finite scores, got NaN or infinity (try another --dtype)");
  return scores;
}

at::Tensor ranks_of_scores(const at::Tensor& scores) {
  const at::Tensor order = scores.argsort(/*stable=*/true, -1, /*descending=*/true);
  const at::Tensor places = at::arange(scores.size(-1), at::kByte).expand_as(order);
  const at::Tensor ranks = at::empty(order.sizes(), at::kByte).scatter_(-1, order, places);
  return at::cat({ranks, ranks}, -1);
}

}  // namespace vmla
