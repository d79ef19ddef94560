#include "convert/converter.h"

#include <ATen/ATen.h>

#include <set>

#include "base/atomic_directory.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/dtype.h"
#include "checkpoint/rank_file.h"
#include "convert/conversion_plan.h"
#include "convert/layer_conversion.h"
#include "nn/kept_rope_dims.h"

namespace vmla {
namespace {

bool is_inside(const fs::path& path, const fs::path& directory) {
  const fs::path relative = path.lexically_relative(directory);
  return !relative.empty() && *relative.begin() != "..";
}

bool is_cancelled(const ConversionOptions& options) {
  return options.cancel != nullptr && *options.cancel;
}

// What --overwrite may replace: an empty directory or a model, but never the source.
void check_output(const ConversionOptions& options) {
  std::error_code ec;
  const fs::path output = absolute_path(options.output_dir.string());
  if (!fs::exists(output, ec)) return;
  check(options.overwrite,
        ErrorKind::Usage,
        "{}: expected a new directory, it exists already (--overwrite replaces it)",
        output.string());
  check(!is_inside(fs::canonical(options.model), fs::canonical(output)),
        ErrorKind::Usage,
        "{}: expected another directory than the model's, which would be lost",
        output.string());
  check(fs::is_directory(output, ec) &&
            (fs::is_empty(output, ec) || fs::exists(output / "config.json", ec)),
        ErrorKind::Usage,
        "{}: expected a model directory to overwrite, found no config.json in it",
        output.string());
}

// Writes the output's tensors by canonical name and knows which are still to come.
class Output {
 public:
  Output(const fs::path& dir, const ConversionPlan& plan, NameStyle style)
      : specs_(plan.specs), style_(style), writer_(dir, stored(plan.specs, style)) {}

  void write(const std::string& name, const at::Tensor& tensor) {
    written_.insert(name);
    const at::ScalarType dtype = specs_.front().dtype;
    if (dtype == at::kHalf && tensor.scalar_type() != at::kHalf) {
      check(at::isfinite(tensor.to(at::kHalf)).all().item<bool>(),
            ErrorKind::Numeric,
            "{}: expected values within float16's range (try --torch_dtype bfloat16)",
            name);
    }
    writer_.write(stored_name(name, style_), tensor);
  }
  void copy_rest(const Checkpoint& source, const ConversionOptions& options) {
    for (const TensorSpec& spec : specs_) {
      if (is_cancelled(options)) return;
      if (written_.count(spec.name) > 0) continue;
      write(spec.name, source.tensor(spec.name));
      source.forget(spec.name);
    }
  }
  void finish() { writer_.finish(); }
  std::uint64_t bytes() const { return writer_.total_bytes(); }

 private:
  static std::vector<TensorSpec> stored(std::vector<TensorSpec> specs, NameStyle style) {
    for (TensorSpec& spec : specs) spec.name = stored_name(spec.name, style);
    return specs;
  }
  std::vector<TensorSpec> specs_;
  NameStyle style_;
  CheckpointWriter writer_;
  std::set<std::string> written_;
};

ConvertedLayer convert_stored_layer(const Checkpoint& source,
                                    const ConversionPlan& plan,
                                    std::int64_t layer,
                                    const std::string& prefix,
                                    const ConversionOptions& options) {
  const std::int64_t head_dim = plan.shape.attention.head_dim;
  const auto load = [&](const std::string& name) {
    const std::string bias = prefix + name + ".bias";
    return Projection{source.tensor(prefix + name + ".weight"),
                      plan.shape.attention.qkv_bias ? source.tensor(bias) : at::Tensor()};
  };
  const at::Tensor kept = kept_rope_dims(options.rope,
                                         plan.shape.attention.kv_heads,
                                         head_dim,
                                         plan.ranks.defined() ? plan.ranks[layer] : at::Tensor());
  Projection k = load("k_proj"), v = load("v_proj");
  if (plan.repeat > 1) {
    k = repeat_heads(k, head_dim, plan.repeat);
    v = repeat_heads(v, head_dim, plan.repeat);
  }
  try {
    return convert_layer(load("q_proj"), k, v, kept, plan.shape, options.device, options.dtype);
  } catch (const Error& e) {
    fail(e.kind(), "{}: k_proj, v_proj of layer {}: {}", source.dir().string(), layer, e.what());
  }
}

void convert_layers(const Checkpoint& source,
                    const ConversionPlan& plan,
                    const ConversionOptions& options,
                    Output& output,
                    ConversionReport& report) {
  const std::int64_t layers = plan.source.text.num_hidden_layers;
  Progress progress("convert", layers, "layer");
  for (std::int64_t i = 0; i < layers && !is_cancelled(options); ++i) {
    const Stopwatch watch;
    const std::string prefix = fmt::format("language_model.model.layers.{}.self_attn.", i);
    ConvertedLayer layer = convert_stored_layer(source, plan, i, prefix, options);
    for (const auto& [name, tensor] : layer.tensors) output.write(prefix + name, tensor);
    for (const char* name : {"q_proj", "k_proj", "v_proj"})
      source.forget(prefix + name + ".weight");
    layer.report.seconds = watch.seconds();
    report.layers.push_back(layer.report);
    progress.advance();
  }
}

std::int64_t kv_bytes(const CacheLayout& layout, const ConversionPlan& plan, at::ScalarType dtype) {
  return layout.elements_per_token() * plan.source.text.num_hidden_layers *
         static_cast<std::int64_t>(c10::elementSize(dtype));
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
  const MhaAttention before(plan.source.text.attention_shape());
  report.kv_bytes_per_token_before =
      kv_bytes(before.cache_layout(CacheMode::Native), plan, options.dtype);
  report.kv_bytes_per_token_after =
      kv_bytes(mla_cache_layout(plan.shape, CacheMode::Native), plan, options.dtype);
  report.weight_bytes_before = static_cast<std::int64_t>(source.weight_bytes());
  return report;
}

}  // namespace

ConversionReport convert_checkpoint(const ConversionOptions& options) {
  const at::NoGradGuard no_grad;
  const Stopwatch watch;
  const Checkpoint source = Checkpoint::open(options.model);
  check_output(options);
  const ConversionPlan plan = plan_conversion(source, options);
  ConversionReport report = start_report(source, plan, options);

  AtomicDirectory directory(options.output_dir, options.overwrite);
  copy_sidecar_files(source.dir(), directory.path());
  Output output(directory.path(), plan, source.name_style());
  convert_layers(source, plan, options, output, report);
  output.copy_rest(source, options);
  if (is_cancelled(options)) {
    report.cancelled = true;
    return report;
  }
  output.finish();
  if (plan.ranks.defined()) write_rank_file(directory.path() / kRopeRanksFile, plan.ranks);
  report.weight_bytes_after = static_cast<std::int64_t>(output.bytes());
  Json config = plan.config;
  config["vlm_mla"]["report"] = report.summary();
  write_json(directory.path() / "config.json", config);
  write_json(directory.path() / "conversion_report.json", report.json(/*with_times=*/false));
  directory.commit();
  report.seconds = watch.seconds();
  return report;
}

}  // namespace vmla
