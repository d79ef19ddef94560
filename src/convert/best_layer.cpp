#include "convert/best_layer.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "convert/per_head_layer.h"
#include "nn/mla_attention.h"
#include "nn/shared_mla_attention.h"

namespace vmla {

AttentionMoments observe_layer(DecoderLayer& layer,
                               const ModelConfig& config,
                               const CalibrationStream& stream,
                               PairMoments pairs) {
  const at::NoGradGuard no_grad;
  const SourceAttention source = source_attention(layer, config);
  MomentObserver observer(source.shape, source.o, source.k_bias.defined(), pairs);
  for (std::int64_t i = 0; i < stream.size(); ++i)
    observer.add(view_projections(layer, config, stream.batch(i)), stream.batch(i));
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

ConvertedAttention runnable(const PerHeadLayer& layer, const SourceAttention& source) {
  ConvertedAttention out;
  const at::Device device = source.q.device();
  out.attention = std::make_unique<MlaAttention>(layer.shape, layer.kept.to(device));
  set_weights(*out.attention, layer.weights, source.q.scalar_type(), device);
  out.kept = layer.kept;
  out.chosen = {layer.shape.rope_dim * source.shape.kv_heads,
                layer.weights.at("kv_proj.down_kv.weight").size(0),
                layer.lost.rope,
                layer.lost.latent,
                0.0,
                0.0};
  return out;
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

namespace {

std::vector<at::Tensor> copies_of(Attention& attention) {
  std::vector<at::Tensor> out;
  for (const auto& [name, tensor] : weights_of(attention)) out.push_back(tensor.clone());
  return out;
}

void put_back(Attention& attention, const std::vector<at::Tensor>& copies) {
  std::size_t i = 0;
  for (const auto& [name, tensor] : weights_of(attention)) tensor.copy_(copies.at(i++));
}

std::vector<at::Tensor> outputs_of(const Attention& attention,
                                   const std::vector<LayerSample>& samples) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> out;
  for (const LayerSample& sample : samples)
    out.push_back(attention.forward(sample.x, sample.context));
  return out;
}

// outputs: as finish_layer's; null where they are not of interest.
double refitted_error(Attention& attention,
                      const std::vector<LayerSample>& samples,
                      const RecipeSteps& steps,
                      std::vector<at::Tensor>* outputs) {
  if (steps.refit_output) return refit_output(attention, samples, outputs).share();
  if (outputs != nullptr) *outputs = outputs_of(attention, samples);
  return layer_error(attention, samples).share();
}

}  // namespace

std::vector<at::Tensor> finish_layer(ConvertedAttention& layer,
                                     const std::vector<LayerSample>& samples,
                                     const RecipeSteps& steps,
                                     const FinishOptions& options) {
  const at::NoGradGuard no_grad;
  StageClock clock(samples.empty() ? at::Device(at::kCPU) : samples[0].x.device());
  Attention& attention = *layer.attention;
  const bool fits = steps.fit_steps > 0;
  std::vector<at::Tensor> outputs;
  layer.chosen.output_error = refitted_error(attention, samples, steps, fits ? nullptr : &outputs);
  layer.chosen.fitted_error = layer.chosen.output_error;
  clock.lap(options.seconds, "refit");
  if (!fits) return outputs;
  const std::vector<at::Tensor> before = copies_of(attention);
  FitOptions fit;
  fit.steps = steps.fit_steps;
  fit.compute_dtype = options.fit_dtype;
  fit.cancel = options.cancel;
  fit_layer(attention, samples, fit);
  clock.lap(options.seconds, "fit");
  const double after = refitted_error(attention, samples, steps, &outputs);
  if (after <= layer.chosen.output_error) {
    layer.chosen.fitted_error = after;
  } else {
    put_back(attention, before);  // also where the fit ended in NaN
    outputs = outputs_of(attention, samples);
  }
  clock.lap(options.seconds, "refit");
  return outputs;
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
