#include "convert/best_conversion.h"

#include <ATen/ATen.h>

#include <optional>

#include "base/log.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "convert/best_layer.h"
#include "convert/best_output.h"
#include "convert/conversion_probe.h"
#include "convert/converted_output.h"
#include "convert/float32_products.h"
#include "convert/layer_method.h"

namespace vmla {
namespace {

class BestConversion {
 public:
  BestConversion(const Checkpoint& source, const BestOptions& options)
      : source_(source), options_(options), model_(source, options.device, at::kFloat) {
    check(!config().mla,
          ErrorKind::Unsupported,
          "{}: expected an unconverted model, this one has latent attention already",
          source.dir().string());
    check(options.calibration.given(),
          ErrorKind::Usage,
          "recipe {}: expected --calibration_data or --calibration_text",
          recipe_name(options.recipe));
    check_distillation(options.distillation, options.calibration);
    const MethodInput input{source_, config(), options_};
    method_ = make_layer_method(input);
    check(
        options.kv_budget > 0 && options.kv_budget <= 1 && input.mean() >= method_->least_budget(),
        ErrorKind::Usage,
        "kv_budget: expected {} to {} of this model's {} numbers a token and layer, got {}",
        method_->least_budget(),
        input.full(),
        input.full(),
        input.mean());
  }

  ConvertedLayers run() {
    const CalibrationOptions& calibration = options_.calibration;
    const bool distilled = options_.distillation.steps > 0;
    CalibrationSet set = CalibrationSet::load(
        options_.model,
        config(),
        distilled ? data_to_learn(options_.distillation, calibration) : calibration);
    for (const SampleProblem& problem : set.problems())
      log_warning("sample {} is left out: {}", problem.id, problem.reason);
    std::optional<CalibrationSet> held_out;
    if (distilled) held_out = set.hold_out();
    model_.load_inputs();
    CalibrationStream source(model_, set.first(calibration.samples, calibration.text_windows));
    model_.release_inputs();
    method_->choose_widths(model_, source);
    std::optional<ConversionProbe> probe;
    if (options_.report_data.given()) {
      probe.emplace(source_,
                    CalibrationSet::load(options_.model, config(), options_.report_data),
                    options_.device);
    }
    ConversionProbe* const watched = probe ? &*probe : nullptr;
    ConvertedLayers out;
    out.recipe = method_->recipe_json();
    std::vector<std::unique_ptr<Attention>> attentions =
        convert_layers(std::move(source), held_out ? nullptr : watched, out);
    if (held_out && !is_cancelled()) {
      out.distillation = distill(source_, set, *held_out, attentions, distill_options());
      for (std::int64_t i = 0; i < model_.layers() && !is_cancelled(); ++i)
        store_layer(i, *attentions[static_cast<std::size_t>(i)], watched, out);
    }
    if (probe && !is_cancelled()) out.agreement = probe->finish();
    return out;
  }

  bool is_cancelled() const { return options_.cancel != nullptr && *options_.cancel; }
  const ModelConfig& config() const { return model_.config(); }

 private:
  DistillOptions distill_options() const {
    DistillOptions out = options_.distillation;
    out.seed = options_.calibration.seed;
    out.samples_at_a_time = options_.calibration.batch_size;
    out.device = options_.device;
    out.cancel = options_.cancel;
    return out;
  }

  // To be distilled, the layers are returned; else they are stored one by one.
  std::vector<std::unique_ptr<Attention>> convert_layers(CalibrationStream source,
                                                         ConversionProbe* probe,
                                                         ConvertedLayers& out) {
    std::vector<std::unique_ptr<Attention>> attentions;
    CalibrationStream converted = source;
    Progress progress("convert", model_.layers(), "layer");
    for (std::int64_t i = 0; i < model_.layers() && !is_cancelled(); ++i) {
      std::unique_ptr<Attention> attention = convert_layer(i, source, converted, out);
      model_.release_layer(i);
      model_.release_packed(i);
      if (options_.distillation.steps > 0) {
        attentions.push_back(std::move(attention));
      } else {
        store_layer(i, *attention, probe, out);
      }
      progress.advance();
    }
    return attentions;
  }

  std::unique_ptr<Attention> convert_layer(std::int64_t index,
                                           CalibrationStream& source,
                                           CalibrationStream& converted,
                                           ConvertedLayers& out) {
    const Stopwatch watch;
    LayerReport& report = out.reports.emplace_back();
    StageClock clock(options_.device);
    DecoderLayer& layer = model_.layer(index);
    clock.lap(&report.stages, "load");
    const RecipeSteps& steps = options_.steps;
    const CalibrationStream& seen = steps.sequential ? converted : source;
    const AttentionMoments moments = method_->observe(layer, seen);
    clock.lap(&report.stages, "observe");
    ConvertedAttention result =
        method_->make(index, source_attention(layer, config()), moments, report.stages);
    clock.restart();
    const std::vector<LayerSample> samples = layer_samples(layer, config(), source, seen);
    clock.lap(&report.stages, "samples");
    const std::vector<at::Tensor> outputs =
        finish_layer(result, samples, steps, finish_options(report));
    clock.restart();
    advance(layer, samples, outputs, source, converted);
    clock.lap(&report.stages, "advance");
    for (const auto& [stage, seconds] : method_->width_seconds(index))
      report.stages["curves." + stage] = seconds;
    out.shared.push_back(std::move(result.shared));
    out.kept.push_back(std::move(result.kept));
    report.chosen = result.chosen;
    report.seconds = watch.seconds();
    return std::move(result.attention);
  }

  FinishOptions finish_options(LayerReport& report) const {
    FinishOptions out;
    // A GPU is far faster at 16 bits; whether the fit has helped is judged in float32.
    if (options_.device.is_cuda()) out.fit_dtype = at::kBFloat16;
    out.seconds = &report.stages;
    out.cancel = options_.cancel;
    return out;
  }

  // What attention did is not computed again: the source's stream after it stands in the samples'
  // targets. outputs: of the converted layer, for each sample.
  void advance(const DecoderLayer& layer,
               const std::vector<LayerSample>& samples,
               const std::vector<at::Tensor>& outputs,
               CalibrationStream& source,
               CalibrationStream& converted) const {
    const bool sequential = options_.steps.sequential;
    const auto behind_mlp = [&](const at::Tensor& attended) {
      return attended + layer.mlp.forward(layer.post_attention_layernorm.forward(attended));
    };
    const CalibrationStream before = sequential ? converted : source;
    std::size_t at = 0;
    source.advance([&](const StreamBatch& /*batch*/) {
      const at::Tensor& hidden = before.batch(static_cast<std::int64_t>(at)).hidden;
      return behind_mlp(samples[at++].target + hidden);
    });
    if (!sequential) return;
    at = 0;
    converted.advance(
        [&](const StreamBatch& batch) { return behind_mlp(batch.hidden + outputs[at++]); });
  }

  // Measures and stores what the layer has become.
  void store_layer(std::int64_t index,
                   Attention& attention,
                   ConversionProbe* probe,
                   ConvertedLayers& out) const {
    if (probe != nullptr) {
      const auto at = static_cast<std::size_t>(index);
      out.reports[at].attention = probe->add_layer(index, attention, out.kept[at]);
    }
    AttentionWeights& stored = out.weights.emplace_back();
    for (const auto& [name, tensor] : weights_of(attention)) {
      check(at::isfinite(tensor).all().item<bool>(),
            ErrorKind::Numeric,
            "layer {}: {}: expected finite numbers, got NaN or infinity",
            index,
            name);
      stored[name] = tensor.to(at::kCPU, options_.dtype);
    }
  }

  const Checkpoint& source_;
  const BestOptions& options_;
  CalibrationModel model_;
  std::unique_ptr<LayerMethod> method_;
};

}  // namespace

ConversionReport convert_best(const BestOptions& options) {
  const at::NoGradGuard no_grad;
  const Float32Products fast(options.device.is_cuda());
  const Stopwatch watch;
  const Checkpoint source = Checkpoint::open(options.model);
  check_output_dir(options.model, options.output_dir, options.overwrite);
  BestConversion conversion(source, options);
  const ConvertedLayers layers = conversion.run();
  ConversionReport report;
  if (conversion.is_cancelled()) {
    report.cancelled = true;
    return report;
  }
  report = write_best(source, conversion.config(), layers, options);
  report.seconds = watch.seconds();
  return report;
}

}  // namespace vmla
