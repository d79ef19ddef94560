#include "convert/layer_fit.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "convert/attention_weights.h"
#include "convert/output_refit.h"
#include "data/sample_order.h"

namespace vmla {
namespace {

struct Moments {
  at::Tensor* tensor;
  double learning_rate;
  at::Tensor first, second;
};

std::vector<Moments> fitted_parameters(Attention& attention, double learning_rate) {
  ParameterList parameters;
  attention.collect("", parameters);
  std::vector<Moments> out;
  for (const NamedParameter& parameter : parameters) {
    if (parameter.name.ends_with(".bias") || parameter.name == ".q_proj.weight") continue;
    const at::Tensor& t = *parameter.tensor;
    const double rms = t.square().mean().sqrt().item<double>();
    out.push_back({parameter.tensor, learning_rate * rms, at::zeros_like(t), at::zeros_like(t)});
    parameter.tensor->requires_grad_(true);
  }
  return out;
}

double schedule(std::int64_t step, const FitOptions& o) {
  const double warmup = static_cast<double>(std::min(o.warmup_steps, o.steps / 2));
  const double at = static_cast<double>(step);
  if (at < warmup) return (at + 1) / (warmup + 1);
  const double done = (at - warmup) / std::max(1.0, static_cast<double>(o.steps) - warmup);
  return o.final_share + (1 - o.final_share) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

void adam_step(std::vector<Moments>& parameters,
               std::int64_t step,
               double scale,
               const FitOptions& o) {
  const at::NoGradGuard no_grad;
  const double first_bias = 1 - std::pow(o.beta1, static_cast<double>(step + 1));
  const double second_bias = 1 - std::pow(o.beta2, static_cast<double>(step + 1));
  for (Moments& p : parameters) {
    at::Tensor& gradient = p.tensor->mutable_grad();
    if (!gradient.defined()) continue;
    p.first.mul_(o.beta1).add_(gradient, 1 - o.beta1);
    p.second.mul_(o.beta2).addcmul_(gradient, gradient, 1 - o.beta2);
    const at::Tensor spread = (p.second / second_bias).sqrt_().add_(1e-12);
    p.tensor->addcdiv_(p.first, spread, -p.learning_rate * scale / first_bias);
    gradient = at::Tensor();
  }
}

// sum over real tokens of |error|^2, and how many tokens there are.
std::pair<at::Tensor, at::Tensor> squared_error(const Attention& attention,
                                                const LayerSample& sample) {
  const at::Tensor error = attention.forward(sample.x, sample.context) - sample.target;
  const at::Tensor real = sample.real.to(error.scalar_type());
  return {(error.square().sum(-1) * real).sum(), real.sum()};
}

// Batches of one kind, again and again in a new order each time round.
class Rotation {
 public:
  Rotation(std::vector<const LayerSample*> samples, std::uint64_t seed)
      : samples_(std::move(samples)), seed_(seed) {}

  // As many batches as hold `wanted` samples, at least one; none when there are none.
  std::vector<const LayerSample*> next(std::int64_t wanted) {
    std::vector<const LayerSample*> out;
    std::int64_t rows = 0;
    while (!samples_.empty() && rows < wanted && out.size() < samples_.size()) {
      if (position_ % samples_.size() == 0) {
        order_ = shuffled_order(static_cast<std::int64_t>(samples_.size()), seed_++);
      }
      const auto index = static_cast<std::size_t>(order_[position_++ % samples_.size()]);
      out.push_back(samples_[index]);
      rows += out.back()->x.size(0);
    }
    return out;
  }

 private:
  std::vector<const LayerSample*> samples_;
  std::uint64_t seed_;
  std::size_t position_ = 0;
  std::vector<std::int64_t> order_;
};

std::vector<const LayerSample*> of_kind(const std::vector<LayerSample>& samples, bool is_text) {
  std::vector<const LayerSample*> out;
  for (const LayerSample& sample : samples) {
    if (sample.is_text == is_text) out.push_back(&sample);
  }
  return out;
}

// The gradients of the mean over some batches' tokens; batch by batch, to keep memory at one.
void backward_mean(const Attention& attention,
                   const std::vector<const LayerSample*>& samples,
                   double unit) {
  if (samples.empty()) return;
  at::Tensor tokens = at::zeros({}, samples[0]->x.options());
  for (const LayerSample* sample : samples) tokens += sample->real.sum();
  for (const LayerSample* sample : samples)
    (squared_error(attention, *sample).first / (tokens * unit)).backward();
}

}  // namespace

void fit_layer(Attention& attention,
               const std::vector<LayerSample>& samples,
               const FitOptions& options) {
  if (options.steps <= 0) return;
  // Adam does not see the loss's unit but through its epsilon.
  const double unit = std::max(layer_error(attention, samples).target, 1e-30);
  std::vector<Moments> parameters = fitted_parameters(attention, options.learning_rate);
  Rotation text(of_kind(samples, true), options.seed),
      conversations(of_kind(samples, false), options.seed + 1000);
  {
    const at::AutoGradMode grad(true);
    for (std::int64_t step = 0; step < options.steps; ++step) {
      if (options.cancel != nullptr && *options.cancel) break;
      backward_mean(attention, text.next(options.windows), unit);
      backward_mean(attention, conversations.next(options.conversations), unit);
      adam_step(parameters, step, schedule(step, options), options);
    }
  }
  for (Moments& p : parameters) *p.tensor = p.tensor->detach();
}

LayerError layer_error(const Attention& attention, const std::vector<LayerSample>& samples) {
  const at::NoGradGuard no_grad;
  std::array<std::array<double, 3>, 2> sums{};  // error, target, tokens of each kind
  for (const LayerSample& sample : samples) {
    auto& sum = sums[sample.is_text ? 1 : 0];
    const auto [error, tokens] = squared_error(attention, sample);
    sum[0] += error.item<double>();
    sum[1] += (sample.target.square().sum(-1) * sample.real).sum().item<double>();
    sum[2] += tokens.item<double>();
  }
  LayerError out;
  for (const auto& sum : sums) {
    if (sum[2] == 0) continue;
    out.error += sum[0] / sum[2];
    out.target += sum[1] / sum[2];
  }
  return out;
}

void refit_output(Attention& attention, const std::vector<LayerSample>& samples) {
  const at::NoGradGuard no_grad;
  const AttentionWeights weights = weights_of(attention);
  const at::Tensor& old = weights.at("o_proj.weight");
  const auto bias = weights.find("o_proj.bias");
  OutputRefit refit(old);
  {
    const WithoutOutputProjection heads(attention);
    for (const LayerSample& sample : samples) {
      const at::Tensor rows = sample.real.flatten().nonzero().squeeze(1);
      const at::Tensor z = attention.forward(sample.x, sample.context).flatten(0, 1);
      at::Tensor target = sample.target.flatten(0, 1).index_select(0, rows);
      if (bias != weights.end()) target = target - bias->second;
      refit.add(z.index_select(0, rows), target, sample.is_text);
    }
  }
  AttentionWeights refitted = weights;
  refitted["o_proj.weight"] = refit.solve();
  set_weights(attention, refitted, old.scalar_type(), old.device());
}

}  // namespace vmla
