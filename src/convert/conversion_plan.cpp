#include "convert/conversion_plan.h"

#include <ATen/ATen.h>

#include "base/log.h"
#include "checkpoint/dtype.h"
#include "checkpoint/rank_file.h"
#include "convert/layer_conversion.h"
#include "model/family.h"
#include "model/load.h"

namespace vmla {
namespace {

// transformers 4 spells it torch_dtype, 5 dtype; either may stand in the parts' configs, too.
void set_dtype(Json& config, at::ScalarType dtype) {
  bool found = false;
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (config.contains(key)) {
      config[key] = dtype_name(dtype);
      found = true;
    }
    for (const char* part : {"text_config", "vision_config"}) {
      const auto it = config.find(part);
      if (it != config.end() && it->is_object() && it->contains(key))
        (*it)[key] = dtype_name(dtype);
    }
  }
  if (!found) config["torch_dtype"] = dtype_name(dtype);
}

Json target_config(const Json& source,
                   const ModelConfig& parsed,
                   const ConversionOptions& options) {
  Json config = source;
  set_dtype(config, options.dtype);
  const TextConfig& text = parsed.text;
  if (options.is_gqa2mha2mla && text.num_key_value_heads != text.num_attention_heads)
    config["text_config"]["num_key_value_heads"] = text.num_attention_heads;
  MlaConfig mla;
  mla.rope = options.rope;
  mla.svd_init_method = options.svd_init_method;
  mla.low_rank = options.low_rank;
  mla.is_gqa2mha2mla = options.is_gqa2mha2mla;
  Json ours = Json::object();
  ours["format_version"] = kVlmMlaFormatVersion;
  if (options.rope.needs_ranks()) {
    mla.qk_tensor_path = (absolute_path(options.output_dir.string()) / kRopeRanksFile).string();
    ours["rope_ranks"] = kRopeRanksFile;
  }
  ours["factorization"] = "svd";
  ours["source"] = options.source_name.empty()
                       ? absolute_path(options.model.string()).filename().string()
                       : options.source_name;
  ours["version"] = VMLA_VERSION;
  config["mha2mla"] = mha2mla_json(mla);
  config["vlm_mla"] = std::move(ours);
  return config;
}

void check_low_rank(const MlaShape& shape, std::int64_t low_rank) {
  if (shape.method == SvdMethod::None) return;
  const std::int64_t largest = largest_low_rank(shape);
  check(largest > 0,
        ErrorKind::Usage,
        "svd_init_method: expected joint, only_value or none when all of K keeps its rotation, got "
        "{}",
        svd_method_name(shape.method));
  check(low_rank > 0 && low_rank <= largest,
        ErrorKind::Usage,
        "low_rank: expected 1 to {} (times {} KV heads it is the full rank), got {}",
        largest,
        shape.attention.kv_heads,
        low_rank);
}

at::Tensor load_ranks(const ConversionOptions& options,
                      const TextConfig& source,
                      std::int64_t repeat) {
  if (!options.rope.needs_ranks()) {
    if (!options.qk_tensor_path.empty())
      log_warning("qk_tensor_path is not used by partial_rope_version {}", options.rope.version);
    return {};
  }
  check(!options.qk_tensor_path.empty(),
        ErrorKind::Usage,
        "qk_tensor_path: expected the rank file that partial_rope_version {} needs, got none",
        options.rope.version);
  const at::Tensor ranks = read_rank_file(options.qk_tensor_path);
  const std::vector<std::int64_t> want{
      source.num_hidden_layers, source.num_key_value_heads, source.head_dim};
  check(ranks.sizes() == at::IntArrayRef(want),
        ErrorKind::Checkpoint,
        "{}: expected ranks [{}] for this model, got [{}]",
        options.qk_tensor_path,
        fmt::join(want, ", "),
        fmt::join(ranks.sizes(), ", "));
  return ranks.repeat_interleave(repeat, 1);
}

}  // namespace

ConversionPlan plan_conversion(const Checkpoint& source, const ConversionOptions& options) {
  const std::string subject = (source.dir() / "config.json").string();
  const Family& family = find_family(source.config(), subject);
  ConversionPlan plan;
  plan.source = family.parse_config(source.config(), subject);
  check(!plan.source.mla,
        ErrorKind::Unsupported,
        "{}: expected an unconverted model, this one has latent attention already",
        source.dir().string());
  const TextConfig& text = plan.source.text;
  check_rope_selection(options.rope, text.head_dim);
  plan.config = target_config(source.config(), plan.source, options);
  plan.repeat = options.is_gqa2mha2mla ? text.num_attention_heads / text.num_key_value_heads : 1;

  AttentionShape attention = text.attention_shape();
  attention.kv_heads *= plan.repeat;
  plan.shape.attention = attention;
  plan.shape.method = options.svd_init_method;
  plan.shape.rope_dim = options.rope.rope_dim;
  plan.shape.latent_dim =
      options.svd_init_method == SvdMethod::None ? 0 : options.low_rank * attention.kv_heads;
  check_low_rank(plan.shape, options.low_rank);
  plan.ranks = load_ranks(options, text, plan.repeat);

  require_specs(source, family.tensor_specs(plan.source));
  plan.target = family.parse_config(plan.config, "config.json of the output");
  plan.specs = family.tensor_specs(plan.target);
  for (TensorSpec& spec : plan.specs) spec.dtype = options.dtype;
  return plan;
}

}  // namespace vmla
