#include "convert/conversion_plan.h"

#include <ATen/ATen.h>

#include "base/log.h"
#include "checkpoint/dtype.h"
#include "checkpoint/rank_file.h"
#include "convert/converted_output.h"
#include "convert/layer_conversion.h"
#include "model/family.h"
#include "model/load.h"
#include "model/rope_ranks.h"

namespace vmla {
namespace {

void add_statistics(const ConversionOptions& options, Json& ours) {
  const StatisticsOptions& s = options.statistics;
  if (!options.recipe.empty()) ours["recipe"] = options.recipe;
  if (options.kv_budget > 0.0) ours["kv_budget"] = options.kv_budget;
  if (s.factorization == Factorization::Whitened) {
    ours["damping"] = s.damping;
    if (s.balance_kv) ours["balance_kv"] = true;
    if (s.image_weight >= 0.0) ours["image_weight"] = s.image_weight;
    if (s.sequential) ours["sequential"] = true;
    if (s.modality == Modality::Decoupled) ours["modality"] = "decoupled";
  }
  if (s.rank_allocation == RankAllocation::Greedy) ours["rank_allocation"] = "greedy";
}

Json target_config(const Json& source,
                   const ConversionPlan& plan,
                   const ConversionOptions& options) {
  Json config = source;
  set_config_dtype(config, options.dtype);
  const TextConfig& text = plan.source.text;
  if (options.is_gqa2mha2mla && text.num_key_value_heads != text.num_attention_heads)
    config["text_config"]["num_key_value_heads"] = text.num_attention_heads;
  MlaConfig mla;
  if (plan.from_partial_rope) mla = *plan.source.mla;
  mla.rope = plan.rope;
  mla.svd_init_method = options.svd_init_method;
  mla.low_rank = options.low_rank;
  mla.is_gqa2mha2mla = mla.is_gqa2mha2mla || options.is_gqa2mha2mla;
  Json ours = Json::object();
  ours["format_version"] = kVlmMlaFormatVersion;
  if (plan.rope.needs_ranks()) {
    mla.qk_tensor_path = (absolute_path(options.output_dir.string()) / kRopeRanksFile).string();
    ours["rope_ranks"] = kRopeRanksFile;
  }
  ours["factorization"] =
      options.statistics.factorization == Factorization::Whitened ? "whitened" : "svd";
  ours["source"] = options.source_name.empty()
                       ? absolute_path(options.model.string()).filename().string()
                       : options.source_name;
  ours["version"] = VMLA_VERSION;
  add_statistics(options, ours);
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

void check_ranks(const at::Tensor& ranks, const TextConfig& source, const std::string& subject) {
  const std::vector<std::int64_t> want{
      source.num_hidden_layers, source.num_key_value_heads, source.head_dim};
  check(ranks.sizes() == at::IntArrayRef(want),
        ErrorKind::Checkpoint,
        "{}: expected ranks [{}] for this model, got [{}]",
        subject,
        fmt::join(want, ", "),
        fmt::join(ranks.sizes(), ", "));
}

at::Tensor load_ranks(const ConversionOptions& options,
                      const ConversionPlan& plan,
                      const at::Tensor& computed) {
  if (!plan.rope.needs_ranks()) {
    if (!options.qk_tensor_path.empty())
      log_warning("qk_tensor_path is not used by partial_rope_version {}", plan.rope.version);
    return {};
  }
  if (options.qk_tensor_path.empty() && computed.defined())
    return computed.repeat_interleave(plan.repeat, 1);
  check(!options.qk_tensor_path.empty(),
        ErrorKind::Usage,
        "qk_tensor_path: expected the rank file that partial_rope_version {} needs, got none",
        plan.rope.version);
  const at::Tensor ranks = read_rank_file(options.qk_tensor_path);
  check_ranks(ranks, plan.source.text, options.qk_tensor_path);
  return ranks.repeat_interleave(plan.repeat, 1);
}

// The ranks that a partial-RoPE source brings with it.
at::Tensor inherited_ranks(const Checkpoint& source,
                           const ConversionPlan& plan,
                           const ConversionOptions& options) {
  if (!plan.rope.needs_ranks()) return {};
  const auto table = find_rope_ranks(source, plan.source, {options.qk_tensor_path, {}});
  return at::tensor(table->ranks, at::kByte).reshape(table->shape);
}

// Takes over what a source with whole K and V (svd_init_method none) has decided.
void plan_partial_rope(const Checkpoint& source,
                       const ConversionOptions& options,
                       ConversionPlan& plan) {
  const MlaConfig& mla = *plan.source.mla;
  check(!mla.is_shared() && mla.svd_init_method == SvdMethod::None,
        ErrorKind::Unsupported,
        "{}: expected an unconverted model or one of svd_init_method none, this one has latent "
        "attention already",
        source.dir().string());
  const bool same = options.rope.version == mla.rope.version &&
                    options.rope.rope_dim == mla.rope.rope_dim &&
                    options.rope.uniform_start_point == mla.rope.uniform_start_point;
  check(same || !options.rope_given,
        ErrorKind::Usage,
        "{}: its rope selection is {} of {} dims already, got {} of {}; leave the flags out",
        source.dir().string(),
        mla.rope.version,
        mla.rope.rope_dim,
        options.rope.version,
        options.rope.rope_dim);
  const TextConfig& text = plan.source.text;
  check(!options.is_gqa2mha2mla || text.num_attention_heads == text.num_key_value_heads,
        ErrorKind::Unsupported,
        "is_gqa2mha2mla: expected a source of multi-head attention, {} has partial RoPE already",
        source.dir().string());
  plan.from_partial_rope = true;
  plan.rope = mla.rope;
}

void set_target(ConversionPlan& plan) {
  const Family& family = find_family(plan.config, "config.json of the output");
  plan.target = family.parse_config(plan.config, "config.json of the output");
  plan.specs = family.tensor_specs(plan.target);
  for (TensorSpec& spec : plan.specs) spec.dtype = plan.dtype;
  plan.shapes.clear();
  for (std::int64_t i = 0; i < plan.target.text.num_hidden_layers; ++i)
    plan.shapes.push_back(plan.target.mla->layer_shape(plan.target.text.attention_shape(), i));
}

}  // namespace

ConversionPlan plan_conversion(const Checkpoint& source,
                               const ConversionOptions& options,
                               const at::Tensor& computed_ranks) {
  const std::string subject = (source.dir() / "config.json").string();
  const Family& family = find_family(source.config(), subject);
  ConversionPlan plan;
  plan.source = family.parse_config(source.config(), subject);
  plan.rope = options.rope;
  if (plan.source.mla) plan_partial_rope(source, options, plan);
  const TextConfig& text = plan.source.text;
  check_rope_selection(plan.rope, text.head_dim);
  plan.repeat = options.is_gqa2mha2mla ? text.num_attention_heads / text.num_key_value_heads : 1;
  plan.config = target_config(source.config(), plan, options);

  AttentionShape attention = text.attention_shape();
  attention.kv_heads *= plan.repeat;
  plan.shape.attention = attention;
  plan.shape.method = options.svd_init_method;
  plan.shape.rope_dim = plan.rope.rope_dim;
  plan.shape.decoupled = options.statistics.modality == Modality::Decoupled;
  plan.shape.latent_dim =
      options.svd_init_method == SvdMethod::None ? 0 : options.low_rank * attention.kv_heads;
  check_low_rank(plan.shape, options.low_rank);
  plan.ranks = plan.from_partial_rope ? inherited_ranks(source, plan, options)
                                      : load_ranks(options, plan, computed_ranks);

  require_specs(source, family.tensor_specs(plan.source));
  plan.dtype = options.dtype;
  set_target(plan);
  return plan;
}

void set_latents(ConversionPlan& plan, const std::vector<LayerLatents>& latents) {
  set_layer_latents(plan.config["vlm_mla"], latents);
  set_target(plan);
}

}  // namespace vmla
