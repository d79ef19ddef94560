#include "convert/best_output.h"

#include <ATen/ATen.h>

#include "base/atomic_directory.h"
#include "checkpoint/dtype.h"
#include "checkpoint/rank_file.h"
#include "convert/conversion_plan.h"
#include "convert/converted_output.h"
#include "model/family.h"
#include "nn/kept_rope_dims.h"

namespace vmla {
namespace {

bool is_shared(const BestOptions& options) {
  return options.steps.layout == RopeLayout::Shared;
}

std::string layer_prefix(std::size_t index) {
  return fmt::format("language_model.model.layers.{}.self_attn.", index);
}

// [L, K, D] uint8 whose first R/2 ranks are the kept pairs.
at::Tensor ranks_of(const ConvertedLayers& layers, std::int64_t head_dim) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& kept : layers.kept) out.push_back(ranks_keeping(kept, head_dim));
  return at::stack(out);
}

Json target_config(const Checkpoint& source,
                   const ModelConfig& source_config,
                   const ConvertedLayers& layers,
                   const BestOptions& options) {
  Json config = source.config();
  set_config_dtype(config, options.dtype);
  Json ours = Json::object();
  ours["format_version"] = kVlmMlaFormatVersion;
  if (is_shared(options)) {
    set_shared_layers(ours, layers.shared);
  } else {
    const ChosenWidths& chosen = *layers.reports.front().chosen;
    const std::int64_t kv_heads = source_config.text.num_key_value_heads;
    MlaConfig mla;
    mla.rope.version = "2-norm";  // by a rank file, which is what the original knows it as
    mla.rope.rope_dim = chosen.rope_dims / kv_heads;
    mla.low_rank = chosen.latent_dims / kv_heads;
    mla.qk_tensor_path = (absolute_path(options.output_dir.string()) / kRopeRanksFile).string();
    config["mha2mla"] = mha2mla_json(mla);
    ours["rope_ranks"] = kRopeRanksFile;
  }
  ours["factorization"] = layers.recipe.at("factorization");
  ours["recipe"] = layers.recipe.at("name");
  if (layers.distillation && layers.distillation->kept())
    ours["distill_steps"] = layers.distillation->best_step;
  ours["source"] = options.source_name.empty()
                       ? absolute_path(options.model.string()).filename().string()
                       : options.source_name;
  ours["version"] = VMLA_VERSION;
  config["vlm_mla"] = std::move(ours);
  return config;
}

ConversionReport report_of(const Checkpoint& source,
                           const ModelConfig& config,
                           const ConvertedLayers& layers,
                           const BestOptions& options) {
  ConversionReport report;
  report.layers = layers.reports;
  report.agreement = layers.agreement;
  report.distillation = layers.distillation;
  report.dtype = dtype_name(options.dtype);
  report.recipe = layers.recipe;
  const AttentionShape shape = config.text.attention_shape();
  const auto element = static_cast<std::int64_t>(c10::elementSize(options.dtype));
  report.kv_bytes_per_token_before =
      2 * shape.kv_heads * shape.head_dim * element * config.text.num_hidden_layers;
  for (const LayerReport& layer : report.layers) {
    report.kv_bytes_per_token_after +=
        (layer.chosen->rope_dims + layer.chosen->latent_dims) * element;
  }
  report.weight_bytes_before = static_cast<std::int64_t>(source.weight_bytes());
  return report;
}

}  // namespace

ConversionReport write_best(const Checkpoint& source,
                            const ModelConfig& source_config,
                            const ConvertedLayers& layers,
                            const BestOptions& options) {
  Json config = target_config(source, source_config, layers, options);
  ConversionReport report = report_of(source, source_config, layers, options);
  report.source = config.at("vlm_mla").at("source").get<std::string>();

  const Family& family = find_family(config, "config.json of the output");
  const ModelConfig target = family.parse_config(config, "config.json of the output");
  std::vector<TensorSpec> specs = family.tensor_specs(target);
  for (TensorSpec& spec : specs) spec.dtype = options.dtype;
  AtomicDirectory directory(options.output_dir, options.overwrite);
  copy_sidecar_files(source.dir(), directory.path());
  ConvertedOutput output(directory.path(), specs, source.name_style());
  for (std::size_t i = 0; i < layers.weights.size(); ++i) {
    for (const auto& [name, tensor] : layers.weights[i])
      output.write(layer_prefix(i) + name, tensor);
  }
  output.copy_rest(source, options.cancel);
  if (options.cancel != nullptr && *options.cancel) {
    report.cancelled = true;
    return report;
  }
  output.finish();
  if (!is_shared(options))
    write_rank_file(directory.path() / kRopeRanksFile,
                    ranks_of(layers, source_config.text.head_dim));
  report.weight_bytes_after = static_cast<std::int64_t>(output.bytes());
  config["vlm_mla"]["report"] = report.summary();
  write_json(directory.path() / "config.json", config);
  write_json(directory.path() / "conversion_report.json", report.json(/*with_times=*/false));
  directory.commit();
  return report;
}

}  // namespace vmla
