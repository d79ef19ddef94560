#include "convert/layer_fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <functional>

#include "convert/attention_weights.h"
#include "convert/output_refit.h"
#include "convert/rounded_factors.h"
#include "convert/sample_cycle.h"
#include "nn/fused_attention.h"

namespace vmla {
namespace {

// sum over real tokens of |error|^2, and how many tokens there are.
std::pair<at::Tensor, at::Tensor> squared_error(const Attention& attention,
                                                const LayerSample& sample) {
  const at::Tensor error =
      attention.forward(sample.x, sample.context).to(sample.target.scalar_type()) - sample.target;
  const at::Tensor real = sample.real.to(error.scalar_type());
  return {(error.square().sum(-1) * real).sum(), real.sum()};
}

// Batches of one kind, in turn.
class Rotation {
 public:
  Rotation(std::vector<const LayerSample*> samples, std::uint64_t seed)
      : samples_(std::move(samples)), cycle_(static_cast<std::int64_t>(samples_.size()), seed) {}

  // As many batches as hold `wanted` samples, at least one; none when there are none.
  std::vector<const LayerSample*> next(std::int64_t wanted) {
    std::vector<const LayerSample*> out;
    std::int64_t rows = 0;
    while (!samples_.empty() && rows < wanted && out.size() < samples_.size()) {
      out.push_back(samples_[static_cast<std::size_t>(cycle_.next())]);
      rows += out.back()->x.size(0);
    }
    return out;
  }

 private:
  std::vector<const LayerSample*> samples_;
  SampleCycle cycle_;
};

std::vector<const LayerSample*> of_kind(const std::vector<LayerSample>& samples, bool is_text) {
  std::vector<const LayerSample*> out;
  for (const LayerSample& sample : samples) {
    if (sample.is_text == is_text) out.push_back(&sample);
  }
  return out;
}

// mean |target|^2 of each kind, added up.
class TargetSums {
 public:
  void add(const LayerSample& sample) {
    auto& sum = sums_[sample.is_text ? 1 : 0];
    sum.first = sum.first + (sample.target.square().sum(-1) * sample.real).sum(at::kDouble);
    sum.second = sum.second + sample.real.sum();
  }
  double mean() const {
    double out = 0.0;
    for (const auto& [square, tokens] : sums_) {
      if (const double count = number(tokens); count > 0) out += number(square) / count;
    }
    return out;
  }

 private:
  static double number(const at::Tensor& x) { return x.item<double>(); }
  std::array<std::pair<at::Tensor, at::Tensor>, 2> sums_{
      {{at::zeros({}), at::zeros({})}, {at::zeros({}), at::zeros({})}}};
};

// Batches as the passes want them.
std::vector<LayerSample> in_dtype(const std::vector<LayerSample>& samples, at::ScalarType dtype) {
  std::vector<LayerSample> out = samples;
  for (LayerSample& sample : out) {
    sample.x = sample.x.to(dtype);
    sample.context.cos = sample.context.cos.to(dtype);
    sample.context.sin = sample.context.sin.to(dtype);
  }
  return out;
}

// The gradients of the mean over some batches' tokens; batch by batch, to keep memory at one.
void backward_mean(const Attention& attention,
                   const std::vector<const LayerSample*>& samples,
                   double unit,
                   const std::function<void()>& after) {
  if (samples.empty()) return;
  at::Tensor tokens = at::zeros({}, samples[0]->target.options());
  for (const LayerSample* sample : samples) tokens += sample->real.sum();
  for (const LayerSample* sample : samples) {
    (squared_error(attention, *sample).first / (tokens * unit)).backward();
    after();
  }
}

}  // namespace

void fit_layer(Attention& attention,
               const std::vector<LayerSample>& samples,
               const FitOptions& options) {
  if (options.steps <= 0 || samples.empty()) return;
  TargetSums targets;
  for (const LayerSample& sample : samples) targets.add(sample);
  // Adam does not see the loss's unit but through its epsilon.
  const double unit = std::max(targets.mean(), 1e-30);
  FactorOptimizer optimizer(options);
  optimizer.add(attention);
  const bool rounds = options.compute_dtype && *options.compute_dtype != samples[0].x.scalar_type();
  std::optional<RoundedFactors> rounded;
  std::vector<LayerSample> rounded_samples;
  if (rounds) {
    rounded.emplace(attention, *options.compute_dtype);
    rounded_samples = in_dtype(samples, *options.compute_dtype);
  }
  const std::vector<LayerSample>& seen = rounds ? rounded_samples : samples;
  Rotation text(of_kind(seen, true), options.seed),
      conversations(of_kind(seen, false), options.seed + 1000);
  const auto after = [&] {
    if (rounded) rounded->collect_gradients();
  };
  {
    const at::AutoGradMode grad(true);
    const WithoutAttentionPlans fused_by_others;  // widths and lengths are new ones all the time
    for (std::int64_t step = 0; step < options.steps; ++step) {
      if (options.cancel != nullptr && *options.cancel) break;
      if (rounded) rounded->open();
      backward_mean(attention, text.next(options.windows), unit, after);
      backward_mean(attention, conversations.next(options.conversations), unit, after);
      if (rounded) rounded->close();
      optimizer.step();
    }
  }
  optimizer.release();
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

LayerError refit_output(Attention& attention,
                        const std::vector<LayerSample>& samples,
                        std::vector<at::Tensor>* outputs) {
  const at::NoGradGuard no_grad;
  const AttentionWeights weights = weights_of(attention);
  const at::Tensor& old = weights.at("o_proj.weight");
  const auto bias = weights.find("o_proj.bias");
  OutputRefit refit(old);
  TargetSums targets;
  {
    const WithoutOutputProjection heads(attention);
    for (const LayerSample& sample : samples) {
      targets.add(sample);
      const at::Tensor rows = sample.real.flatten().nonzero().squeeze(1);
      const at::Tensor by_row = attention.forward(sample.x, sample.context);
      const at::Tensor z = by_row.flatten(0, 1);
      at::Tensor target = sample.target.flatten(0, 1).index_select(0, rows);
      if (bias != weights.end()) target = target - bias->second;
      refit.add(z.index_select(0, rows), target, sample.is_text);
      if (outputs != nullptr) outputs->push_back(by_row);
    }
  }
  AttentionWeights refitted = weights;
  const at::Tensor solved = refit.solve();
  refitted["o_proj.weight"] = solved;
  set_weights(attention, refitted, old.scalar_type(), old.device());
  if (outputs != nullptr) {
    const AttentionWeights now = weights_of(attention);
    for (at::Tensor& output : *outputs)
      output = at::linear(
          output, now.at("o_proj.weight"), bias != weights.end() ? bias->second : at::Tensor());
  }
  return {refit.error(solved), targets.mean()};
}

}  // namespace vmla
