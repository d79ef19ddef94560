#include "convert/best_conversion.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "base/atomic_directory.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "checkpoint/dtype.h"
#include "checkpoint/rank_file.h"
#include "convert/best_layer.h"
#include "convert/conversion_plan.h"
#include "convert/conversion_probe.h"
#include "convert/converted_output.h"
#include "convert/layer_curves.h"
#include "convert/per_head_layer.h"
#include "convert/rorope_layer.h"
#include "model/family.h"
#include "nn/kept_rope_dims.h"

namespace vmla {
namespace {

bool is_cancelled(const BestOptions& options) {
  return options.cancel != nullptr && *options.cancel;
}

const char* recipe_name(const BestOptions& options) {
  return options.steps.rorope ? "transmla" : "best";
}

std::string layer_prefix(std::int64_t index) {
  return fmt::format("language_model.model.layers.{}.self_attn.", index);
}

// The converted layers, in the dtype of the output and on the CPU.
struct ConvertedLayers {
  std::vector<AttentionWeights> weights;
  std::vector<SharedRopeLayer> shared;
  std::vector<at::Tensor> kept;
  std::vector<LayerReport> reports;
  std::optional<NextTokenAgreement> agreement;
  std::optional<DistillationReport> distillation;
};

class BestConversion {
 public:
  BestConversion(const Checkpoint& source, const BestOptions& options)
      : source_(source), options_(options), model_(source, options.device, at::kFloat) {
    check(!model_.config().mla,
          ErrorKind::Unsupported,
          "{}: expected an unconverted model, this one has latent attention already",
          source.dir().string());
    check(options.calibration.given(),
          ErrorKind::Usage,
          "recipe {}: expected --calibration_data or --calibration_text",
          recipe_name(options));
    check_distillation(options.distillation, options.calibration);
    const AttentionShape shape = attention_shape();
    full_ = 2 * shape.kv_heads * shape.head_dim;
    mean_ = static_cast<std::int64_t>(std::floor(options.kv_budget * static_cast<double>(full_)));
    check(options.kv_budget > 0 && options.kv_budget <= 1 && mean_ >= least_budget(),
          ErrorKind::Usage,
          "kv_budget: expected {} to {} of this model's {} numbers a token and layer, got {}",
          least_budget(),
          full_,
          full_,
          mean_);
  }

  ConvertedLayers run() {
    CalibrationSet set =
        CalibrationSet::load(options_.model, model_.config(), options_.calibration);
    for (const SampleProblem& problem : set.problems())
      log_warning("sample {} is left out: {}", problem.id, problem.reason);
    std::optional<CalibrationSet> held_out;
    if (options_.distillation.steps > 0) held_out = set.hold_out();
    model_.load_inputs();
    CalibrationStream source(model_, set);
    model_.release_inputs();
    choose_budgets(source);
    std::optional<ConversionProbe> probe;
    if (options_.report_data.given()) {
      probe.emplace(source_,
                    CalibrationSet::load(options_.model, model_.config(), options_.report_data),
                    options_.device);
    }
    ConversionProbe* const watched = probe ? &*probe : nullptr;
    ConvertedLayers out;
    std::vector<std::unique_ptr<Attention>> attentions =
        convert_layers(std::move(source), held_out ? nullptr : watched, out);
    if (held_out && !is_cancelled(options_)) {
      out.distillation = distill(source_, set, *held_out, attentions, distill_options());
      for (std::int64_t i = 0; i < model_.layers() && !is_cancelled(options_); ++i)
        store_layer(i, *attentions[static_cast<std::size_t>(i)], watched, out);
    }
    if (probe && !is_cancelled(options_)) out.agreement = probe->finish();
    return out;
  }

  std::int64_t rope_dim() const { return rope_dim_; }
  std::int64_t low_rank() const { return mean_ / attention_shape().kv_heads - rope_dim_; }
  const ModelConfig& config() const { return model_.config(); }

 private:
  AttentionShape attention_shape() const { return model_.config().text.attention_shape(); }
  bool is_shared() const { return options_.steps.layout == RopeLayout::Shared; }
  // A pair and a latent number, for all heads or for each.
  std::int64_t least_budget() const { return is_shared() ? 3 : 3 * attention_shape().kv_heads; }

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
    for (std::int64_t i = 0; i < model_.layers() && !is_cancelled(options_); ++i) {
      std::unique_ptr<Attention> attention = convert_layer(i, source, converted, out);
      model_.release_layer(i);
      if (options_.distillation.steps > 0) {
        attentions.push_back(std::move(attention));
      } else {
        store_layer(i, *attention, probe, out);
      }
      progress.advance();
    }
    return attentions;
  }

  void choose_budgets(const CalibrationStream& source) {
    budgets_.assign(static_cast<std::size_t>(model_.layers()), mean_);
    if (options_.steps.rorope) {
      choose_components(source);
      return;
    }
    if (!is_shared()) {
      rope_dim_ = options_.rope_dim > 0 ? options_.rope_dim : best_rope_dim(source);
      const std::int64_t most =
          std::min(attention_shape().head_dim, mean_ / attention_shape().kv_heads - 1);
      check(rope_dim_ % 2 == 0 && rope_dim_ <= most,
            ErrorKind::Usage,
            "rope_dim_for_mla: expected an even number up to {} at this kv_budget, got {}",
            most,
            rope_dim_);
      return;
    }
    if (!options_.curves || mean_ == full_ || model_.layers() == 1) return;
    CurveOptions curves;
    curves.steps = options_.steps;
    curves.mean_budget = mean_;
    curves.cancel = options_.cancel;
    const std::vector<LayerCurve> measured = measure_curves(model_, source, curves);
    if (is_cancelled(options_)) return;
    const double floor_share = options_.floor_share > 0    ? options_.floor_share
                               : options_.kv_budget < 0.15 ? 0.75
                                                           : 0.5;
    budgets_ = allocate_budget(measured, mean_ * model_.layers(), floor_share, full_);
  }

  LayerWidths rorope_widths(std::int64_t components) const {
    return {components,
            std::min(mean_ - 2 * components, largest_rorope_latent(attention_shape(), components))};
  }

  void choose_components(const CalibrationStream& source) {
    const AttentionShape shape = attention_shape();
    components_ = options_.rope_dim / 2;
    check(
        options_.rope_dim == 0 || (options_.rope_dim % 2 == 0 && options_.rope_dim < mean_ &&
                                   is_rorope_width(shape, components_)),
        ErrorKind::Usage,
        "rope_dim_for_mla: expected a multiple or an even part of {} below {} for recipe transmla, "
        "got {}",
        shape.head_dim,
        mean_,
        options_.rope_dim);
    if (options_.rope_dim == 0) components_ = best_components(source);
  }

  // TransMLA's widths of the rope key differ in how many frequencies share a component. Measured:
  // the one with the least next-token KL on some of the calibration data.
  std::int64_t best_components(CalibrationStream stream) {
    const std::vector<std::int64_t> candidates = rorope_candidates(attention_shape(), mean_);
    if (candidates.size() == 1) return candidates[0];
    CalibrationOptions some = options_.calibration;
    some.samples = std::min<std::int64_t>(some.samples, 32);
    some.text_windows = std::min<std::int64_t>(some.text_windows, 8);
    const CalibrationSet set = CalibrationSet::load(options_.model, config(), some);
    std::vector<std::unique_ptr<ConversionProbe>> probes;
    for (std::size_t c = 0; c < candidates.size(); ++c)
      probes.push_back(std::make_unique<ConversionProbe>(source_, set, options_.device));
    for (std::int64_t i = 0; i < model_.layers() && !is_cancelled(options_); ++i) {
      DecoderLayer& layer = model_.layer(i);
      const SourceAttention attention = source_attention(layer, config());
      const AttentionMoments moments = observe_inputs(layer, stream, attention.k_bias.defined());
      for (std::size_t c = 0; c < candidates.size(); ++c) {
        const ConvertedAttention tried =
            make_layer(attention, moments, options_.steps, rorope_widths(candidates[c]));
        probes[c]->carry_layer(i, *tried.attention);
      }
      stream.advance(layer);
      model_.release_layer(i);
    }
    if (is_cancelled(options_)) return candidates[0];
    std::vector<double> losses;
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      const NextTokenAgreement agreement = probes[c]->finish();
      losses.push_back(agreement.text.kl + agreement.answers.kl);
      log_info("rope key of {} dims: next-token KL {:.5f}", 2 * candidates[c], losses.back());
    }
    return candidates[static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) -
                                               losses.begin())];
  }

  // The R that loses least over all layers, each layer's loss counting as a share.
  std::int64_t best_rope_dim(const CalibrationStream& source) {
    const AttentionShape shape = attention_shape();
    const std::int64_t per_head = mean_ / shape.kv_heads;
    std::vector<std::int64_t> candidates;
    for (const double part : {0.125, 0.25, 0.375, 0.5, 0.625}) {
      const auto r = 2 * static_cast<std::int64_t>(part * static_cast<double>(per_head) / 2);
      if (r >= 2 && r < per_head && r <= shape.head_dim &&
          (candidates.empty() || candidates.back() != r))
        candidates.push_back(r);
    }
    if (candidates.size() <= 1) return candidates.empty() ? 2 : candidates[0];
    std::vector<double> losses(candidates.size(), 0.0);
    CalibrationStream stream = source;
    for (std::int64_t i = 0; i < model_.layers() && !is_cancelled(options_); ++i) {
      DecoderLayer& layer = model_.layer(i);
      const PerHeadLayerFactory factory(source_attention(layer, config()),
                                        observe_layer(layer, config(), stream),
                                        options_.steps);
      for (std::size_t c = 0; c < candidates.size(); ++c)
        losses[c] += factory.loss(candidates[c], latent_dim(candidates[c]));
      stream.advance(layer);
      model_.release_layer(i);
    }
    return candidates[static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) -
                                               losses.begin())];
  }

  std::int64_t latent_dim(std::int64_t rope_dim) const {
    const AttentionShape shape = attention_shape();
    const std::int64_t r = mean_ / shape.kv_heads - rope_dim;
    return std::min(r, shape.hidden / shape.kv_heads) * shape.kv_heads;
  }

  LayerWidths choose_widths(std::int64_t index,
                            const SourceAttention& attention,
                            const AttentionMoments& moments) const {
    if (options_.steps.rorope) return rorope_widths(components_);
    if (!is_shared()) return {rope_dim_, latent_dim(rope_dim_)};
    return split_budget(
        attention, moments, options_.steps, budgets_[static_cast<std::size_t>(index)]);
  }

  std::unique_ptr<Attention> convert_layer(std::int64_t index,
                                           CalibrationStream& source,
                                           CalibrationStream& converted,
                                           ConvertedLayers& out) {
    const Stopwatch watch;
    DecoderLayer& layer = model_.layer(index);
    const RecipeSteps& steps = options_.steps;
    const CalibrationStream& seen = steps.sequential ? converted : source;
    const SourceAttention attention = source_attention(layer, config());
    const AttentionMoments moments = steps.rorope
                                         ? observe_inputs(layer, seen, attention.k_bias.defined())
                                         : observe_layer(layer, config(), seen);
    const LayerWidths widths = choose_widths(index, attention, moments);
    ConvertedAttention result = make_layer(attention, moments, steps, widths);
    {
      const std::vector<LayerSample> samples = layer_samples(layer, config(), source, seen);
      finish_layer(result, samples, steps, options_.cancel);
    }
    source.advance(layer);
    if (steps.sequential) {
      converted.advance([&](const StreamBatch& batch) {
        return forward_with(layer, *result.attention, batch.hidden, batch.context());
      });
    }
    out.shared.push_back(std::move(result.shared));
    out.kept.push_back(std::move(result.kept));
    LayerReport& report = out.reports.emplace_back();
    report.chosen = result.chosen;
    report.seconds = watch.seconds();
    return std::move(result.attention);
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
  std::int64_t full_ = 0, mean_ = 0;  // numbers a token and layer
  std::int64_t rope_dim_ = 0;
  std::int64_t components_ = 0;  // n of the recipe transmla
  std::vector<std::int64_t> budgets_;
};

Json recipe_json(const BestOptions& options) {
  const RecipeSteps& steps = options.steps;
  constexpr std::array<const char*, 3> kMetrics{"svd", "whitened", "attention"};
  if (steps.rorope) {
    return {{"name", recipe_name(options)},
            {"kv_budget", options.kv_budget},
            {"rope_layout", "shared"},
            {"factorization", "whitened"},
            {"refit_output", steps.refit_output},
            {"sequential", steps.sequential},
            {"fit_steps", steps.fit_steps},
            {"rank_allocation", "uniform"}};
  }
  return {{"name", recipe_name(options)},
          {"kv_budget", options.kv_budget},
          {"rope_layout", steps.layout == RopeLayout::Shared ? "shared" : "per_head"},
          {"factorization", kMetrics.at(static_cast<std::size_t>(steps.metric))},
          {"logit_metric", steps.logit_metric},
          {"rope_fold", steps.fold},
          {"refit_output", steps.refit_output},
          {"sequential", steps.sequential},
          {"fit_steps", steps.fit_steps},
          {"split_gamma", steps.split_gamma},
          {"rank_allocation", options.curves ? "curves" : "uniform"}};
}

// [L, K, D] uint8 whose first R/2 ranks are the kept pairs.
at::Tensor ranks_of(const ConvertedLayers& layers, std::int64_t head_dim) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& kept : layers.kept) out.push_back(ranks_keeping(kept, head_dim));
  return at::stack(out);
}

Json target_config(const Checkpoint& source,
                   const BestConversion& conversion,
                   const ConvertedLayers& layers,
                   const BestOptions& options) {
  Json config = source.config();
  set_config_dtype(config, options.dtype);
  Json ours = Json::object();
  ours["format_version"] = kVlmMlaFormatVersion;
  if (options.steps.layout == RopeLayout::Shared) {
    set_shared_layers(ours, layers.shared);
  } else {
    MlaConfig mla;
    mla.rope.version = "2-norm";  // by a rank file, which is what the original knows it as
    mla.rope.rope_dim = conversion.rope_dim();
    mla.low_rank =
        layers.reports.front().chosen->latent_dims / conversion.config().text.num_key_value_heads;
    mla.qk_tensor_path = (absolute_path(options.output_dir.string()) / kRopeRanksFile).string();
    config["mha2mla"] = mha2mla_json(mla);
    ours["rope_ranks"] = kRopeRanksFile;
  }
  ours["factorization"] = recipe_json(options).at("factorization");
  ours["recipe"] = recipe_name(options);
  if (layers.distillation && layers.distillation->kept())
    ours["distill_steps"] = layers.distillation->best_step;
  ours["source"] = options.source_name.empty()
                       ? absolute_path(options.model.string()).filename().string()
                       : options.source_name;
  ours["version"] = VMLA_VERSION;
  config["vlm_mla"] = std::move(ours);
  return config;
}

void fill_report(ConversionReport& report,
                 const Checkpoint& source,
                 const BestConversion& conversion,
                 const BestOptions& options) {
  report.dtype = dtype_name(options.dtype);
  report.recipe = recipe_json(options);
  const AttentionShape shape = conversion.config().text.attention_shape();
  const auto element = static_cast<std::int64_t>(c10::elementSize(options.dtype));
  report.kv_bytes_per_token_before =
      2 * shape.kv_heads * shape.head_dim * element * conversion.config().text.num_hidden_layers;
  for (const LayerReport& layer : report.layers) {
    report.kv_bytes_per_token_after +=
        (layer.chosen->rope_dims + layer.chosen->latent_dims) * element;
  }
  report.weight_bytes_before = static_cast<std::int64_t>(source.weight_bytes());
}

}  // namespace

ConversionReport convert_best(const BestOptions& options) {
  const at::NoGradGuard no_grad;
  const Stopwatch watch;
  const Checkpoint source = Checkpoint::open(options.model);
  check_output_dir(options.model, options.output_dir, options.overwrite);
  BestConversion conversion(source, options);
  ConvertedLayers layers = conversion.run();
  ConversionReport report;
  if (is_cancelled(options)) {
    report.cancelled = true;
    return report;
  }
  Json config = target_config(source, conversion, layers, options);
  report.layers = layers.reports;
  report.agreement = layers.agreement;
  report.distillation = layers.distillation;
  report.source = config.at("vlm_mla").at("source").get<std::string>();
  fill_report(report, source, conversion, options);

  const Family& family = find_family(config, "config.json of the output");
  const ModelConfig target = family.parse_config(config, "config.json of the output");
  std::vector<TensorSpec> specs = family.tensor_specs(target);
  for (TensorSpec& spec : specs) spec.dtype = options.dtype;
  AtomicDirectory directory(options.output_dir, options.overwrite);
  copy_sidecar_files(source.dir(), directory.path());
  ConvertedOutput output(directory.path(), specs, source.name_style());
  for (std::size_t i = 0; i < layers.weights.size(); ++i) {
    const std::string prefix = layer_prefix(static_cast<std::int64_t>(i));
    for (const auto& [name, tensor] : layers.weights[i]) output.write(prefix + name, tensor);
  }
  output.copy_rest(source, options.cancel);
  if (is_cancelled(options)) {
    report.cancelled = true;
    return report;
  }
  output.finish();
  if (options.steps.layout == RopeLayout::PerHead) {
    write_rank_file(directory.path() / kRopeRanksFile,
                    ranks_of(layers, conversion.config().text.head_dim));
  }
  report.weight_bytes_after = static_cast<std::int64_t>(output.bytes());
  config["vlm_mla"]["report"] = report.summary();
  write_json(directory.path() / "config.json", config);
  write_json(directory.path() / "conversion_report.json", report.json(/*with_times=*/false));
  directory.commit();
  report.seconds = watch.seconds();
  return report;
}

}  // namespace vmla
