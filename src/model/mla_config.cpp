#include "model/mla_config.h"

#include <set>

namespace vmla {

MlaShape MlaConfig::layer_shape(const AttentionShape& attention) const {
  MlaShape shape;
  shape.attention = attention;
  shape.method = svd_init_method;
  shape.rope_dim = rope.rope_dim;
  shape.latent_dim = low_rank * attention.kv_heads;
  return shape;
}

MlaConfig parse_mla_config(const Json& config, const std::string& file) {
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
    const auto version = json_require<std::int64_t>(*it, "format_version", ours);
    check(version >= 1 && version <= kVlmMlaFormatVersion,
          ErrorKind::Unsupported,
          "{}: format_version: expected at most {}, got {}; a newer vlm-mla wrote this model",
          ours,
          kVlmMlaFormatVersion,
          version);
    out.rope_ranks = json_value(*it, "rope_ranks", std::string(), ours);
    check(out.rope_ranks.empty() || fs::path(out.rope_ranks).filename() == out.rope_ranks,
          ErrorKind::Config,
          "{}: rope_ranks: expected a file name inside the model directory, got {}",
          ours,
          out.rope_ranks);
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
