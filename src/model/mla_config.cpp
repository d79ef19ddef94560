#include "model/mla_config.h"

#include <algorithm>
#include <set>

namespace vmla {
namespace {

void check_format_version(const Json& vlm_mla, const std::string& subject) {
  const auto version = json_require<std::int64_t>(vlm_mla, "format_version", subject);
  check(version >= 1 && version <= kVlmMlaFormatVersion,
        ErrorKind::Unsupported,
        "{}: format_version: expected at most {}, got {}; a newer vlm-mla wrote this model",
        subject,
        kVlmMlaFormatVersion,
        version);
}

MlaConfig parse_shared_config(const Json& vlm_mla, const std::string& subject) {
  MlaConfig out;
  out.rope.version = "shared";
  const auto layers = vlm_mla.find("layers");
  check(layers != vlm_mla.end() && layers->is_array() && !layers->empty(),
        ErrorKind::Config,
        "{}: layers: expected the widths of each layer, got {}",
        subject,
        layers == vlm_mla.end() ? "none" : json_type_name(*layers));
  for (std::size_t i = 0; i < layers->size(); ++i) {
    const std::string name = fmt::format("{}: layers[{}]", subject, i);
    const Json& layer = (*layers)[i];
    check(layer.is_object(),
          ErrorKind::Config,
          "{}: expected an object, got {}",
          name,
          json_type_name(layer));
    SharedRopeLayer parsed;
    parsed.latent_dim = json_require<std::int64_t>(layer, "latent_dims", name);
    const auto frequencies = layer.find("rope_frequencies");
    const bool is_list = frequencies != layer.end() && frequencies->is_array() &&
                         !frequencies->empty() &&
                         std::all_of(frequencies->begin(), frequencies->end(), [](const Json& j) {
                           return j.is_number_integer();
                         });
    check(
        is_list, ErrorKind::Config, "{}: rope_frequencies: expected a list of pair indices", name);
    parsed.frequencies = frequencies->get<std::vector<std::int64_t>>();
    out.shared_layers.push_back(std::move(parsed));
  }
  return out;
}

std::vector<LayerLatents> parse_layer_latents(const Json& layers, const std::string& subject) {
  check(layers.is_array() && !layers.empty(),
        ErrorKind::Config,
        "{}: layers: expected the widths of each layer, got {}",
        subject,
        json_type_name(layers));
  std::vector<LayerLatents> out;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string name = fmt::format("{}: layers[{}]", subject, i);
    check(layers[i].is_object(),
          ErrorKind::Config,
          "{}: expected an object, got {}",
          name,
          json_type_name(layers[i]));
    out.push_back({json_value<std::int64_t>(layers[i], "latent_dims", 0, name),
                   json_value<std::int64_t>(layers[i], "value_latent_dims", 0, name)});
  }
  return out;
}

// The layout of vlm_mla, "per_head" where it says none.
std::string rope_layout(const Json& config, const std::string& subject) {
  const auto ours = config.find("vlm_mla");
  if (ours == config.end() || !ours->is_object()) return "per_head";
  const auto layout = json_value<std::string>(*ours, "rope_layout", "per_head", subject);
  check(layout == "per_head" || layout == "shared",
        ErrorKind::Unsupported,
        "{}: rope_layout: expected per_head or shared, got {}",
        subject,
        layout);
  return layout;
}

// Whether vlm_mla.modality says "decoupled"; "joint" where it says nothing.
bool is_decoupled(const Json& vlm_mla, const std::string& subject) {
  const auto modality = json_value<std::string>(vlm_mla, "modality", "joint", subject);
  check(modality == "joint" || modality == "decoupled",
        ErrorKind::Unsupported,
        "{}: modality: expected joint or decoupled, got {}",
        subject,
        modality);
  return modality == "decoupled";
}

}  // namespace

MlaShape MlaConfig::layer_shape(const AttentionShape& attention, std::int64_t layer) const {
  MlaShape shape;
  shape.attention = attention;
  shape.method = svd_init_method;
  shape.rope_dim = rope.rope_dim;
  shape.latent_dim = low_rank * attention.kv_heads;
  shape.decoupled = decoupled;
  if (!layer_latents.empty()) {
    const LayerLatents& latents = layer_latents.at(static_cast<std::size_t>(layer));
    shape.latent_dim = latents.key > 0 ? latents.key : latents.value;
    shape.value_latent_dim = latents.value;
  }
  return shape;
}

SharedMlaShape MlaConfig::shared_shape(const AttentionShape& attention, std::int64_t layer) const {
  const SharedRopeLayer& widths = shared_layers.at(static_cast<std::size_t>(layer));
  return {attention, static_cast<std::int64_t>(widths.frequencies.size()), widths.latent_dim};
}

bool has_mla_config(const Json& config) {
  if (const auto it = config.find("mha2mla"); it != config.end() && !it->is_null()) return true;
  const auto ours = config.find("vlm_mla");
  return ours != config.end() && ours->is_object() && ours->contains("rope_layout");
}

void check_shared_layers(const MlaConfig& config,
                         std::int64_t layers,
                         std::int64_t head_dim,
                         const std::string& subject) {
  check(static_cast<std::int64_t>(config.shared_layers.size()) == layers,
        ErrorKind::Config,
        "{}: vlm_mla.layers: expected {}, one a layer, got {}",
        subject,
        layers,
        config.shared_layers.size());
  for (std::size_t i = 0; i < config.shared_layers.size(); ++i) {
    const SharedRopeLayer& layer = config.shared_layers[i];
    check(layer.latent_dim > 0 && layer.latent_dim < (std::int64_t{1} << 30),
          ErrorKind::Config,
          "{}: vlm_mla.layers[{}].latent_dims: expected a positive number, got {}",
          subject,
          i,
          layer.latent_dim);
    for (const std::int64_t j : layer.frequencies) {
      check(j >= 0 && j < head_dim / 2,
            ErrorKind::Config,
            "{}: vlm_mla.layers[{}].rope_frequencies: expected 0 to {}, got {}",
            subject,
            i,
            head_dim / 2 - 1,
            j);
    }
  }
}

void check_layer_latents(const MlaConfig& config,
                         const AttentionShape& attention,
                         std::int64_t layers,
                         const std::string& subject) {
  if (config.layer_latents.empty()) return;
  check(static_cast<std::int64_t>(config.layer_latents.size()) == layers,
        ErrorKind::Config,
        "{}: vlm_mla.layers: expected {}, one a layer, got {}",
        subject,
        layers,
        config.layer_latents.size());
  for (std::int64_t i = 0; i < layers; ++i) {
    const MlaShape shape = config.layer_shape(attention, i);
    const LayerLatents& latents = config.layer_latents[static_cast<std::size_t>(i)];
    const auto fits = [&](std::int64_t width, bool wanted) {
      return wanted ? width > 0 && width <= attention.hidden : width == 0;
    };
    check(fits(latents.key, shape.low_rank_key()) &&
              fits(latents.value, shape.low_rank_value() && !shape.joint()),
          ErrorKind::Config,
          "{}: vlm_mla.layers[{}]: expected the latents of svd_init_method {}, 1 to {} wide, got "
          "{} and {}",
          subject,
          i,
          svd_method_name(shape.method),
          attention.hidden,
          latents.key,
          latents.value);
  }
}

void set_layer_latents(Json& vlm_mla, const std::vector<LayerLatents>& layers) {
  Json list = Json::array();
  for (const LayerLatents& layer : layers) {
    Json widths = Json::object();
    if (layer.key > 0) widths["latent_dims"] = layer.key;
    if (layer.value > 0) widths["value_latent_dims"] = layer.value;
    list.push_back(std::move(widths));
  }
  vlm_mla["layers"] = std::move(list);
}

void set_shared_layers(Json& vlm_mla, const std::vector<SharedRopeLayer>& layers) {
  vlm_mla["rope_layout"] = "shared";
  Json list = Json::array();
  for (const SharedRopeLayer& layer : layers)
    list.push_back({{"rope_frequencies", layer.frequencies}, {"latent_dims", layer.latent_dim}});
  vlm_mla["layers"] = std::move(list);
}

MlaConfig parse_mla_config(const Json& config, const std::string& file) {
  if (rope_layout(config, file + ": vlm_mla") == "shared") {
    const std::string ours = file + ": vlm_mla";
    check_format_version(config.at("vlm_mla"), ours);
    check(!is_decoupled(config.at("vlm_mla"), ours),
          ErrorKind::Unsupported,
          "{}: modality: expected joint for rope_layout shared, got decoupled",
          ours);
    return parse_shared_config(config.at("vlm_mla"), ours);
  }
  check(config.contains("mha2mla"), ErrorKind::Config, "{}: mha2mla: expected an object", file);
  const Json* json = &config.at("mha2mla");
  const std::string subject = file + ": mha2mla";
  Json parsed;
  if (json->is_string()) {  // the original's loader accepts a JSON string, too
    parsed = parse_json(json->get<std::string>(), subject);
    json = &parsed;
  }
  check(json->is_object(),
        ErrorKind::Config,
        "{}: expected an object, got {}",
        subject,
        json_type_name(*json));
  static const std::set<std::string> kKeys{"partial_rope_version",
                                           "rope_dim_for_mla",
                                           "uniform_start_point",
                                           "qk_tensor_path",
                                           "svd_init_method",
                                           "low_rank",
                                           "is_baseline",
                                           "is_gqa2mha2mla",
                                           "is_mla_from_scratch"};
  for (const auto& item : json->items()) {
    check(kKeys.count(item.key()) > 0,
          ErrorKind::Config,
          "{}: unknown key \"{}\"",
          subject,
          item.key());
  }
  MlaConfig out;
  out.rope.version = json_value(*json, "partial_rope_version", out.rope.version, subject);
  out.rope.rope_dim = json_value(*json, "rope_dim_for_mla", out.rope.rope_dim, subject);
  out.rope.uniform_start_point =
      json_value(*json, "uniform_start_point", out.rope.uniform_start_point, subject);
  out.qk_tensor_path = json_value(*json, "qk_tensor_path", out.qk_tensor_path, subject);
  out.svd_init_method =
      parse_svd_method(json_value<std::string>(*json, "svd_init_method", "joint", subject));
  out.low_rank = json_value(*json, "low_rank", out.low_rank, subject);
  out.is_baseline = json_value(*json, "is_baseline", false, subject);
  out.is_gqa2mha2mla = json_value(*json, "is_gqa2mha2mla", false, subject);
  out.is_mla_from_scratch = json_value(*json, "is_mla_from_scratch", false, subject);
  check(out.low_rank > 0 || out.svd_init_method == SvdMethod::None,
        ErrorKind::Config,
        "{}: low_rank: expected a positive number, got {}",
        subject,
        out.low_rank);
  check(!out.is_baseline, ErrorKind::Unsupported, "{}: is_baseline: expected false", subject);
  if (const auto it = config.find("vlm_mla"); it != config.end()) {
    const std::string ours = file + ": vlm_mla";
    check_format_version(*it, ours);
    out.rope_ranks = json_value(*it, "rope_ranks", std::string(), ours);
    check(out.rope_ranks.empty() || fs::path(out.rope_ranks).filename() == out.rope_ranks,
          ErrorKind::Config,
          "{}: rope_ranks: expected a file name inside the model directory, got {}",
          ours,
          out.rope_ranks);
    if (it->contains("layers")) out.layer_latents = parse_layer_latents(it->at("layers"), ours);
    out.decoupled = is_decoupled(*it, ours);
    check(!out.decoupled || out.svd_init_method == SvdMethod::Joint,
          ErrorKind::Config,
          "{}: modality: expected svd_init_method joint for decoupled, got {}",
          ours,
          svd_method_name(out.svd_init_method));
  }
  return out;
}

Json mha2mla_json(const MlaConfig& c) {
  Json json = Json::object();
  json["partial_rope_version"] = c.rope.version;
  json["rope_dim_for_mla"] = c.rope.rope_dim;
  json["uniform_start_point"] = c.rope.uniform_start_point;
  json["qk_tensor_path"] = c.qk_tensor_path.empty() ? Json(nullptr) : Json(c.qk_tensor_path);
  json["svd_init_method"] = svd_method_name(c.svd_init_method);
  json["low_rank"] = c.low_rank;
  json["is_baseline"] = c.is_baseline;
  json["is_gqa2mha2mla"] = c.is_gqa2mha2mla;
  json["is_mla_from_scratch"] = c.is_mla_from_scratch;
  return json;
}

}  // namespace vmla
