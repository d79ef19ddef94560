#include "convert/converter.h"

#include <ATen/ATen.h>

#include "base/atomic_directory.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/dtype.h"
#include "checkpoint/rank_file.h"
#include "convert/budget_split.h"
#include "convert/conversion_plan.h"
#include "convert/converted_output.h"
#include "convert/layer_walk.h"
#include "model/family.h"
#include "nn/plane_codec.h"

namespace vmla {
namespace {

bool is_cancelled(const ConversionOptions& options) {
  return options.cancel != nullptr && *options.cancel;
}

void check_decoupled(const ConversionOptions& options) {
  const StatisticsOptions& s = options.statistics;
  check(!s.calibration.data.empty(),
        ErrorKind::Usage,
        "modality: expected --calibration_data with images for decoupled, got none");
  check(s.factorization == Factorization::Whitened,
        ErrorKind::Usage,
        "modality: expected --factorization whitened beside decoupled");
  check(options.svd_init_method == SvdMethod::Joint,
        ErrorKind::Usage,
        "modality: expected svd_init_method joint for decoupled, got {}",
        svd_method_name(options.svd_init_method));
}

// Checks what the flags of statistics ask of each other.
void check_statistics(const ConversionOptions& options) {
  const StatisticsOptions& s = options.statistics;
  const bool whitened = s.factorization == Factorization::Whitened;
  if (s.modality == Modality::Decoupled) check_decoupled(options);
  check(
      !whitened || s.calibration.given(),
      ErrorKind::Usage,
      "factorization: expected --calibration_data or --calibration_text for whitened, got neither");
  check(whitened || !(s.balance_kv || s.sequential),
        ErrorKind::Usage,
        "{}: expected --factorization whitened beside it",
        s.balance_kv ? "balance_kv" : "sequential");
  check(!s.balance_kv || options.svd_init_method == SvdMethod::Joint,
        ErrorKind::Usage,
        "balance_kv: expected svd_init_method joint");
  check(s.rank_allocation == RankAllocation::Uniform || options.svd_init_method != SvdMethod::None,
        ErrorKind::Usage,
        "rank_allocation: expected a low-rank svd_init_method for greedy, got none");
  check(s.damping >= 0.0 && s.damping <= 1.0,
        ErrorKind::Usage,
        "damping: expected 0 to 1, got {}",
        s.damping);
  check(s.image_weight <= 1.0,
        ErrorKind::Usage,
        "image_weight: expected 0 to 1, got {}",
        s.image_weight);
  check(options.kv_budget >= 0.0 && options.kv_budget <= 1.0,
        ErrorKind::Usage,
        "kv_budget: expected more than 0 up to 100%, got {}%",
        100.0 * options.kv_budget);
}

std::int64_t kv_elements_before(const ConversionPlan& plan) {
  const AttentionShape shape = plan.source.text.attention_shape();
  return plan.source.text.num_hidden_layers * 2 * shape.kv_heads * shape.head_dim;
}

ConversionReport start_report(const Checkpoint& source,
                              const ConversionPlan& plan,
                              const ConversionOptions& options) {
  ConversionReport report;
  report.source = plan.config.at("vlm_mla").at("source").get<std::string>();
  report.dtype = dtype_name(options.dtype);
  report.mha2mla = plan.config.at("mha2mla");
  // The report tells the settings, not where files lie.
  if (plan.ranks.defined()) report.mha2mla["qk_tensor_path"] = kRopeRanksFile;
  report.latent_dims = plan.shape.latent_dim;
  const auto element = static_cast<std::int64_t>(c10::elementSize(options.dtype));
  report.kv_bytes_per_token_before = kv_elements_before(plan) * element;
  std::vector<CacheLayout> layouts;
  for (const MlaShape& shape : plan.shapes)
    layouts.push_back(mla_cache_layout(shape, CacheMode::Native));
  report.kv_bytes_per_token_after =
      bytes_per_token(with_format(std::move(layouts), {}, cache_dtype_of(options.dtype)));
  report.weight_bytes_before = static_cast<std::int64_t>(source.weight_bytes());
  return report;
}

}  // namespace

Factorization parse_factorization(const std::string& name) {
  if (name == "svd") return Factorization::Svd;
  if (name == "whitened") return Factorization::Whitened;
  fail(ErrorKind::Usage, "factorization: expected svd or whitened, got {}", name);
}

Modality parse_modality(const std::string& name) {
  if (name == "joint") return Modality::Joint;
  if (name == "decoupled") return Modality::Decoupled;
  fail(ErrorKind::Usage, "modality: expected joint or decoupled, got {}", name);
}

RankAllocation parse_rank_allocation(const std::string& name) {
  if (name == "uniform") return RankAllocation::Uniform;
  if (name == "greedy") return RankAllocation::Greedy;
  fail(ErrorKind::Usage, "rank_allocation: expected uniform or greedy, got {}", name);
}

ConversionReport convert_checkpoint(const ConversionOptions& given) {
  const at::NoGradGuard no_grad;
  const Stopwatch watch;
  check_statistics(given);
  check_distillation(given.distillation, given.statistics.calibration);
  const Checkpoint source = Checkpoint::open(given.model);
  check_output_dir(given.model, given.output_dir, given.overwrite);
  ConversionOptions options = given;
  const ModelConfig config =
      parse_model_config(source.config(), (source.dir() / "config.json").string());
  if (config.mla && !options.rope_given) options.rope = config.mla->rope;
  ConversionStatistics statistics(source, config, options);
  at::Tensor ranks;
  if (options.rope.needs_ranks() && options.qk_tensor_path.empty() && statistics.given() &&
      !config.mla)
    ranks = statistics.ranks(options.rope.version);
  if (options.kv_budget > 0.0) choose_split(source, config, ranks, statistics, options);
  ConversionPlan plan = plan_conversion(source, options, ranks);
  const LayerConverter converter(source, plan, options);
  if (options.statistics.rank_allocation == RankAllocation::Greedy) {
    const std::vector<LayerLatents> latents =
        allocate_latents(converter, plan, options, statistics);
    if (!is_cancelled(options)) set_latents(plan, latents);
  }
  ConversionReport report = start_report(source, plan, options);
  if (is_cancelled(options)) {
    report.cancelled = true;
    return report;
  }
  std::optional<ConversionProbe> probe;
  if (options.statistics.report_data.given()) {
    const CalibrationSet held_out =
        CalibrationSet::load(options.model, config, options.statistics.report_data);
    probe.emplace(source, held_out, options.device);
  }

  AtomicDirectory directory(options.output_dir, options.overwrite);
  copy_sidecar_files(source.dir(), directory.path());
  ConvertedOutput output(directory.path(), plan.specs, source.name_style());
  const auto write = [&](std::int64_t i, ConvertedLayer& layer) {
    for (const auto& [name, tensor] : layer.tensors)
      output.write(attention_prefix(i) + name, tensor);
    if (!plan.target.mla->layer_latents.empty()) {
      const LayerLatents& latents = plan.target.mla->layer_latents[static_cast<std::size_t>(i)];
      layer.report.latent_dims = latents.key + latents.value;
    }
    report.layers.push_back(layer.report);
  };
  ConversionProbe* const watched = probe ? &*probe : nullptr;
  if (options.distillation.steps > 0) {
    report.distillation =
        convert_distilled_layers(source, converter, plan, options, statistics, watched, write);
  } else {
    Progress progress("convert", plan.source.text.num_hidden_layers, "layer");
    convert_layers(converter,
                   plan,
                   options,
                   statistics,
                   options.statistics.sequential,
                   watched,
                   [&](std::int64_t i, ConvertedLayer& layer) {
                     write(i, layer);
                     progress.advance();
                   });
  }
  output.copy_rest(source, options.cancel);
  if (is_cancelled(options)) {
    report.cancelled = true;
    return report;
  }
  if (probe) report.agreement = probe->finish();
  output.finish();
  if (plan.ranks.defined()) write_rank_file(directory.path() / kRopeRanksFile, plan.ranks);
  report.weight_bytes_after = static_cast<std::int64_t>(output.bytes());
  Json json = plan.config;
  if (report.distillation && report.distillation->kept())
    json["vlm_mla"]["distill_steps"] = report.distillation->best_step;
  json["vlm_mla"]["report"] = report.summary();
  write_json(directory.path() / "config.json", json);
  write_json(directory.path() / "conversion_report.json", report.json(/*with_times=*/false));
  directory.commit();
  report.seconds = watch.seconds();
  return report;
}

}  // namespace vmla
