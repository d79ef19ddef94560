#include "cli/inspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "checkpoint/checkpoint_headers.h"
#include "checkpoint/dtype.h"
#include "model/family.h"
#include "model/rope_ranks.h"
#include "model/weights_check.h"

namespace vmla {
namespace {

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

std::vector<ModelPart> count_parts(const CheckpointHeaders& checkpoint,
                                   const std::vector<TensorSpec>& specs) {
  const std::vector<std::pair<std::string, std::string>> known{
      {"vision tower", "vision_tower."},
      {"projector", "multi_modal_projector."},
      {"language model", "language_model."},
      {"other", ""}};
  std::set<std::string> wanted;
  for (const auto& spec : specs) wanted.insert(spec.name);
  std::vector<ModelPart> parts;
  parts.reserve(known.size());
  for (const auto& [name, prefix] : known) parts.push_back({name});
  for (const auto& name : checkpoint.names()) {
    const auto part = std::find_if(
        known.begin(), known.end(), [&](const auto& p) { return starts_with(name, p.second); });
    ModelPart& sum = parts[static_cast<std::size_t>(part - known.begin())];
    const TensorInfo& info = checkpoint.info(name);
    sum.bytes += static_cast<std::int64_t>(info.bytes());
    if (wanted.count(name) == 0) continue;
    std::int64_t elements = 1;
    for (const std::int64_t size : info.shape) elements *= size;
    sum.parameters += elements;
  }
  if (parts.back().bytes == 0) parts.pop_back();
  return parts;
}

// What a cache of the weights' dtype takes.
void count_cache(const std::vector<CacheLayout>& layers, at::ScalarType dtype, Inspection& out) {
  const CacheDtype stored = dtype_bytes(dtype) == 4 ? CacheDtype::Float32 : CacheDtype::BFloat16;
  out.kv_elements_per_token = elements_per_token(layers);
  out.kv_bytes_per_token = bytes_per_token(with_format(layers, {}, stored));
}

std::vector<CacheLayout> describe_shared_cache(const ModelConfig& config, Inspection& out) {
  out.attention = "mla";
  out.rope_selection = "shared";
  out.svd_method = svd_method_name(SvdMethod::Joint);
  std::vector<CacheLayout> layouts;
  for (std::int64_t i = 0; i < config.text.num_hidden_layers; ++i) {
    const SharedMlaShape shape = config.mla->shared_shape(config.text.attention_shape(), i);
    const CacheLayout layout = shared_mla_cache_layout(shape, CacheMode::Native);
    out.layers.push_back({layout.name(), 2 * shape.components, shape.latent_dim, 0});
    layouts.push_back(layout);
  }
  return layouts;
}

std::vector<CacheLayout> describe_cache(const ModelConfig& config, Inspection& out) {
  const AttentionShape shape = config.text.attention_shape();
  out.attention = shape.kv_heads < shape.heads ? "gqa" : "mha";
  if (config.mla && config.mla->is_shared()) return describe_shared_cache(config, out);
  if (config.mla) {
    out.attention = "mla";
    out.rope_selection = config.mla->rope.version;
    out.svd_method = svd_method_name(config.mla->svd_init_method);
    out.decoupled = config.mla->decoupled;
  }
  std::vector<CacheLayout> layouts;
  for (std::int64_t i = 0; i < config.text.num_hidden_layers; ++i) {
    CacheLayout layout{
        {{"k", {shape.kv_heads, shape.head_dim}}, {"v", {shape.kv_heads, shape.head_dim}}}};
    LayerCache layer{"", shape.head_dim, 0, 0};
    if (config.mla) {
      const MlaShape mla = config.mla->layer_shape(shape, i);
      layout = mla_cache_layout(mla, CacheMode::Native);
      layer.rope_dims = mla.rope_dim;
      layer.latent_dims = mla.low_rank_key() || mla.low_rank_value() ? mla.latent_dim : 0;
      layer.value_latent_dims = mla.value_latent_dim;
    }
    layer.layout = layout.name();
    out.layers.push_back(std::move(layer));
    layouts.push_back(std::move(layout));
  }
  return layouts;
}

std::vector<std::string> find_problems(const CheckpointHeaders& checkpoint,
                                       const ModelConfig& config,
                                       const std::vector<TensorSpec>& specs) {
  std::vector<std::string> problems = compare_with_specs(checkpoint, specs);
  if (config.mla) {
    try {
      check_rope_dims(checkpoint, config);
    } catch (const Error& e) {
      problems.emplace_back(e.what());
    }
  }
  const auto missing = [&](const std::vector<std::string>& any_of) {
    std::error_code ec;
    return std::none_of(any_of.begin(), any_of.end(), [&](const std::string& file) {
      return fs::exists(checkpoint.dir() / file, ec);
    });
  };
  if (missing({"tokenizer.model", "tokenizer.json"}))
    problems.emplace_back("tokenizer: expected tokenizer.model or tokenizer.json, found none");
  if (missing({"preprocessor_config.json", "processor_config.json"})) {
    problems.emplace_back(
        "image processor: expected preprocessor_config.json or processor_config.json, found none");
  }
  return problems;
}

}  // namespace

std::int64_t Inspection::parameters() const {
  std::int64_t sum = 0;
  for (const auto& part : parts) sum += part.parameters;
  return sum;
}

std::int64_t Inspection::weight_bytes() const {
  std::int64_t sum = 0;
  for (const auto& part : parts) sum += part.bytes;
  return sum;
}

Inspection inspect_model(const fs::path& dir) {
  const CheckpointHeaders checkpoint = CheckpointHeaders::open(dir);
  const std::string subject = (dir / "config.json").string();
  const Family& family = find_family(checkpoint.config(), subject);
  const ModelConfig config = family.parse_config(checkpoint.config(), subject);
  const std::vector<TensorSpec> specs = family.tensor_specs(config);
  const at::ScalarType dtype = checkpoint_dtype(checkpoint);

  Inspection out;
  out.family = std::string(family.architecture);
  out.text_model = config.text.model_type;
  out.dtype = dtype_name(dtype);
  out.parts = count_parts(checkpoint, specs);
  count_cache(describe_cache(config, out), dtype, out);
  out.problems = find_problems(checkpoint, config, specs);
  return out;
}

Json inspection_json(const Inspection& inspection) {
  Json json = Json::object();
  json["family"] = inspection.family;
  json["parameters"] = inspection.parameters();
  json["weight_bytes"] = inspection.weight_bytes();
  json["dtype"] = inspection.dtype;
  json["text_model"] = inspection.text_model;
  json["attention"] = inspection.attention;
  if (!inspection.rope_selection.empty()) {
    json["rope_selection"] = inspection.rope_selection;
    json["svd_method"] = inspection.svd_method;
    json["modality"] = inspection.decoupled ? "decoupled" : "joint";
  }
  Json parts = Json::array();
  for (const auto& part : inspection.parts) {
    parts.push_back({{"name", part.name}, {"parameters", part.parameters}, {"bytes", part.bytes}});
  }
  json["parts"] = std::move(parts);
  Json layers = Json::array();
  for (const auto& layer : inspection.layers) {
    layers.push_back({{"layout", layer.layout},
                      {"rope_dims", layer.rope_dims},
                      {"latent_dims", layer.latent_dims}});
    if (layer.value_latent_dims > 0) layers.back()["value_latent_dims"] = layer.value_latent_dims;
  }
  json["layers"] = std::move(layers);
  json["kv_elements_per_token"] = inspection.kv_elements_per_token;
  json["kv_bytes_per_token"] = inspection.kv_bytes_per_token;
  json["problems"] = inspection.problems;
  return json;
}

namespace {

std::string layers_text(const std::vector<LayerCache>& layers, const char* rope_of) {
  // Runs of equal layers share a line.
  std::string out;
  for (std::size_t begin = 0; begin < layers.size();) {
    const LayerCache& first = layers[begin];
    std::size_t end = begin + 1;
    while (end < layers.size() && layers[end].layout == first.layout &&
           layers[end].rope_dims == first.rope_dims &&
           layers[end].latent_dims == first.latent_dims &&
           layers[end].value_latent_dims == first.value_latent_dims) {
      ++end;
    }
    const std::string range =
        end - begin == 1 ? fmt::format("{}", begin) : fmt::format("{}-{}", begin, end - 1);
    out += fmt::format("{:<16} {}, R {} {}, C {}{}\n",
                       "layers " + range,
                       first.layout,
                       first.rope_dims,
                       rope_of,
                       first.latent_dims,
                       first.value_latent_dims > 0 ? fmt::format(" and {}", first.value_latent_dims)
                                                   : std::string());
    begin = end;
  }
  return out;
}

}  // namespace

std::string inspection_text(const Inspection& in) {
  std::string attention = in.attention;
  if (!in.rope_selection.empty())
    attention += fmt::format(" (rope {}, svd {}{})",
                             in.rope_selection,
                             in.svd_method,
                             in.decoupled ? ", decoupled by modality" : "");
  std::string out = fmt::format("{:<16} {} ({})\n", "family", in.family, in.text_model);
  out += fmt::format("{:<16} {}\n", "attention", attention);
  out += fmt::format("{:<16} {}\n\n", "dtype", in.dtype);
  out += fmt::format("{:<16} {:>16} {:>12}\n", "part", "parameters", "bytes");
  for (const auto& part : in.parts) {
    out += fmt::format("{:<16} {:>16} {:>12}\n",
                       part.name,
                       part.parameters,
                       human_bytes(static_cast<std::uint64_t>(part.bytes)));
  }
  out += fmt::format("{:<16} {:>16} {:>12}\n\n",
                     "total",
                     in.parameters(),
                     human_bytes(static_cast<std::uint64_t>(in.weight_bytes())));
  out += layers_text(in.layers, in.rope_selection == "shared" ? "for all heads" : "a head");
  out += fmt::format("{:<16} {} elements, {} bytes a token over {} layers\n",
                     "KV cache",
                     in.kv_elements_per_token,
                     in.kv_bytes_per_token,
                     in.layers.size());
  constexpr std::size_t kShown = 20;
  out += fmt::format("{:<16} {}\n", "problems", in.problems.empty() ? "none" : "");
  for (std::size_t i = 0; i < std::min(kShown, in.problems.size()); ++i)
    out += "  " + in.problems[i] + "\n";
  if (in.problems.size() > kShown)
    out += fmt::format("  and {} more (--json lists all)\n", in.problems.size() - kShown);
  return out;
}

}  // namespace vmla
