#include "convert/layer_fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "convert/attention_weights.h"
#include "convert/output_refit.h"
#include "convert/sample_cycle.h"

namespace vmla {
namespace {

// sum over real tokens of |error|^2, and how many tokens there are.
std::pair<at::Tensor, at::Tensor> squared_error(const Attention& attention,
                                                const LayerSample& sample) {
  const at::Tensor error = attention.forward(sample.x, sample.context) - sample.target;
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
  FactorOptimizer optimizer(options);
  optimizer.add(attention);
  Rotation text(of_kind(samples, true), options.seed),
      conversations(of_kind(samples, false), options.seed + 1000);
  {
    const at::AutoGradMode grad(true);
    for (std::int64_t step = 0; step < options.steps; ++step) {
      if (options.cancel != nullptr && *options.cancel) break;
      backward_mean(attention, text.next(options.windows), unit);
      backward_mean(attention, conversations.next(options.conversations), unit);
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
