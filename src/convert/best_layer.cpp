#include "convert/best_layer.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "convert/per_head_layer.h"
#include "nn/mla_attention.h"
#include "nn/shared_mla_attention.h"

namespace vmla {

AttentionMoments observe_layer(DecoderLayer& layer,
                               const ModelConfig& config,
                               const CalibrationStream& stream) {
  const SourceAttention source = source_attention(layer, config);
  MomentObserver observer(source.shape, source.o, source.k_bias.defined());
  visit_attention(layer, config, stream, [&](const AttentionView& view, const StreamBatch& batch) {
    observer.add(view, batch);
  });
  return observer.finish();
}

ConvertedAttention runnable(const SharedLayer& layer, const SourceAttention& source) {
  ConvertedAttention out;
  out.attention = std::make_unique<SharedMlaAttention>(layer.shape, layer.frequencies);
  set_weights(*out.attention, layer.weights, source.q.scalar_type(), source.q.device());
  const at::Tensor frequencies = layer.frequencies.cpu().contiguous();
  const auto* first = frequencies.const_data_ptr<std::int64_t>();
  const std::int64_t components = frequencies.size(0), latent = layer.shape.latent_dim;
  out.shared = {{first, first + components}, latent};
  out.chosen = {2 * components, latent, layer.lost.rope, layer.lost.latent, 0.0, 0.0};
  return out;
}

ConvertedAttention make_layer(const SourceAttention& source,
                              const AttentionMoments& moments,
                              const RecipeSteps& steps,
                              const LayerWidths& widths) {
  if (steps.layout == RopeLayout::Shared) {
    return runnable(SharedLayerFactory(source, moments, steps).make(widths.rope, widths.latent),
                    source);
  }
  ConvertedAttention out;
  const at::Device device = source.q.device();
  const PerHeadLayer layer =
      PerHeadLayerFactory(source, moments, steps).make(widths.rope, widths.latent);
  out.attention = std::make_unique<MlaAttention>(layer.shape, layer.kept.to(device));
  set_weights(*out.attention, layer.weights, source.q.scalar_type(), device);
  out.kept = layer.kept;
  out.chosen = {widths.rope * source.shape.kv_heads,
                widths.latent,
                layer.lost.rope,
                layer.lost.latent,
                0.0,
                0.0};
  return out;
}

LayerWidths split_budget(const SourceAttention& source,
                         const AttentionMoments& moments,
                         const RecipeSteps& steps,
                         std::int64_t budget) {
  const SharedLayerFactory factory(source, moments, steps);
  const std::int64_t components = factory.best_components(budget);
  return {components, std::min(budget - 2 * components, factory.largest_latent())};
}

LayerSample layer_sample(DecoderLayer& original,
                         const ModelConfig& config,
                         const StreamBatch& source,
                         const StreamBatch& converted) {
  const at::NoGradGuard no_grad;
  LayerSample sample;
  sample.x = attention_input(original, converted);
  sample.target = view_attention(original, config, source).after - converted.hidden;
  sample.real = converted.real;
  sample.context = converted.context();
  sample.is_text = converted.is_text;
  return sample;
}

std::vector<LayerSample> layer_samples(DecoderLayer& original,
                                       const ModelConfig& config,
                                       const CalibrationStream& source,
                                       const CalibrationStream& converted) {
  std::vector<LayerSample> samples;
  for (std::int64_t i = 0; i < source.size(); ++i)
    samples.push_back(layer_sample(original, config, source.batch(i), converted.batch(i)));
  return samples;
}

void finish_layer(ConvertedAttention& layer,
                  const std::vector<LayerSample>& samples,
                  const RecipeSteps& steps,
                  const std::atomic<bool>* cancel) {
  if (steps.refit_output) refit_output(*layer.attention, samples);
  layer.chosen.output_error = layer_error(*layer.attention, samples).share();
  layer.chosen.fitted_error = layer.chosen.output_error;
  if (steps.fit_steps <= 0) return;
  FitOptions fit;
  fit.steps = steps.fit_steps;
  fit.cancel = cancel;
  fit_layer(*layer.attention, samples, fit);
  if (steps.refit_output) refit_output(*layer.attention, samples);
  layer.chosen.fitted_error = layer_error(*layer.attention, samples).share();
}

at::Tensor forward_with(const DecoderLayer& original,
                        const Attention& attention,
                        const at::Tensor& hidden,
                        const AttentionContext& context) {
  const at::Tensor attended =
      hidden + attention.forward(original.input_layernorm.forward(hidden), context);
  return attended + original.mlp.forward(original.post_attention_layernorm.forward(attended));
}

}  // namespace vmla
