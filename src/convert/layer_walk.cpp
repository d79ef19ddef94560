#include "convert/layer_walk.h"

#include <ATen/ATen.h>

#include "base/progress.h"
#include "base/stopwatch.h"
#include "convert/attention_weights.h"
#include "convert/decoupled_layer.h"
#include "convert/distillation.h"
#include "convert/factorize.h"
#include "convert/rank_allocation.h"

namespace vmla {
namespace {

bool is_cancelled(const ConversionOptions& options) {
  return options.cancel != nullptr && *options.cancel;
}

// Squared singular values of what one latent carries, of the weights where there is no metric.
LatentBranch branch(const at::Tensor& matrix, const LayerMetric& metric, std::int64_t layer) {
  const at::Tensor m = matrix.to(at::kDouble);
  const at::Tensor root = metric.root.defined() ? metric.root : at::eye(m.size(1), m.options());
  const at::Tensor spectrum =
      (metric.decoupled() ? decoupled_spectrum(m, metric) : whitened_spectrum(m, root))
          .to(at::kCPU);
  const auto* values = spectrum.const_data_ptr<double>();
  return {{values, values + spectrum.numel()}, layer};
}

}  // namespace

void convert_layers(const LayerConverter& converter,
                    const ConversionPlan& plan,
                    const ConversionOptions& options,
                    ConversionStatistics& statistics,
                    bool sequential,
                    ConversionProbe* probe,
                    const LayerSink& sink) {
  const std::unique_ptr<LayerInputs> inputs = statistics.inputs(sequential);
  const std::int64_t layers = plan.source.text.num_hidden_layers;
  for (std::int64_t i = 0; i < layers && !is_cancelled(options); ++i) {
    const Stopwatch watch;
    ConvertedLayer layer = converter.convert(i, statistics.metric(inputs.get(), i));
    if (probe != nullptr || (inputs != nullptr && sequential)) {
      const auto attention = converter.attention(i, layer, options.dtype);
      if (probe != nullptr)
        layer.report.attention = probe->add_layer(i, *attention, converter.kept(i));
      if (inputs != nullptr && sequential) inputs->converted(i, *attention);
    }
    layer.report.seconds = watch.seconds();
    sink(i, layer);
    converter.forget(i);
  }
}

DistillationReport convert_distilled_layers(const Checkpoint& source,
                                            const LayerConverter& converter,
                                            const ConversionPlan& plan,
                                            const ConversionOptions& options,
                                            ConversionStatistics& statistics,
                                            ConversionProbe* probe,
                                            const LayerSink& sink) {
  const StatisticsOptions& s = options.statistics;
  std::vector<ConvertedLayer> layers;
  std::vector<std::unique_ptr<Attention>> attentions;
  {
    Progress progress("convert", plan.source.text.num_hidden_layers, "layer");
    convert_layers(converter,
                   plan,
                   options,
                   statistics,
                   s.sequential,
                   /*probe=*/nullptr,
                   [&](std::int64_t i, ConvertedLayer& layer) {
                     attentions.push_back(converter.attention(i, layer, at::kFloat));
                     layers.push_back(std::move(layer));
                     progress.advance();
                   });
  }
  if (is_cancelled(options)) return {};
  DistillOptions distillation = options.distillation;
  distillation.answer_weight = s.image_weight;
  distillation.seed = s.calibration.seed;
  distillation.samples_at_a_time = s.calibration.batch_size;
  distillation.device = options.device;
  distillation.cancel = options.cancel;
  DistillationReport report =
      distill(source, statistics.to_learn(), statistics.held_out(), attentions, distillation);
  for (std::size_t i = 0; i < layers.size() && !is_cancelled(options); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    if (report.kept()) {
      layers[i].tensors.clear();
      for (const auto& [name, tensor] : weights_of(*attentions[i]))
        layers[i].tensors.emplace_back(name, tensor.to(at::kCPU));
    }
    attentions[i].reset();
    if (probe != nullptr) {
      layers[i].report.attention = probe->add_layer(
          index, *converter.attention(index, layers[i], options.dtype), converter.kept(index));
    }
    sink(index, layers[i]);
    converter.forget(index);
  }
  return report;
}

std::vector<LayerLatents> allocate_latents(const LayerConverter& converter,
                                           const ConversionPlan& plan,
                                           const ConversionOptions& options,
                                           ConversionStatistics& statistics) {
  const std::unique_ptr<LayerInputs> inputs = statistics.inputs(/*sequential=*/false);
  const std::int64_t layers = plan.source.text.num_hidden_layers;
  const MlaShape& shape = plan.shape;
  std::vector<LatentBranch> branches;
  for (std::int64_t i = 0; i < layers; ++i) {
    if (is_cancelled(options)) return {};
    const LayerMetric metric = statistics.metric(inputs.get(), i);
    const SplitRows rows = converter.rows(i);
    const at::Tensor k = rows.k_nope.weight.to(options.device),
                     v = rows.v.weight.to(options.device);
    if (shape.joint()) {
      branches.push_back(branch(at::cat({k, v.to(k.scalar_type())}), metric, i));
    } else {
      if (shape.low_rank_key()) branches.push_back(branch(k, metric, i));
      if (shape.low_rank_value()) branches.push_back(branch(v, metric, i));
    }
    converter.forget(i);
  }
  const std::vector<std::int64_t> ranks = allocate_ranks(
      branches, layers, shape.latent_dim * static_cast<std::int64_t>(branches.size()));
  std::vector<LayerLatents> out;
  std::size_t next = 0;
  for (std::int64_t i = 0; i < layers; ++i) {
    LayerLatents latents;
    if (shape.low_rank_key()) latents.key = ranks[next++];
    if (!shape.joint() && shape.low_rank_value()) latents.value = ranks[next++];
    out.push_back(latents);
  }
  return out;
}

}  // namespace vmla
