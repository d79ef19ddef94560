// config.json's "mha2mla" object (the Python original's) and its sibling "vlm_mla" (ours).
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "nn/mla_shape.h"
#include "nn/rope_selection.h"

namespace vmla {

inline constexpr std::int64_t kVlmMlaFormatVersion = 1;

struct MlaConfig {
  RopeSelection rope;          // partial_rope_version, rope_dim_for_mla, uniform_start_point
  std::string qk_tensor_path;  // where the rank file was when the model was converted; may be gone
  SvdMethod svd_init_method = SvdMethod::Joint;
  std::int64_t low_rank = 8;  // r, per KV head: C = r * K
  bool is_baseline = false;
  bool is_gqa2mha2mla = false;
  bool is_mla_from_scratch = false;
  std::string rope_ranks;  // vlm_mla.rope_ranks: the rank file inside the model directory, or empty

  // The geometry of every layer. kv_heads is text_config's num_key_value_heads.
  MlaShape layer_shape(const AttentionShape& attention) const;
};

// Errors: Config (missing or unknown keys, wrong types), Unsupported (is_baseline, a newer
// vlm_mla.format_version).
MlaConfig parse_mla_config(const Json& config, const std::string& subject);
// Exactly the original's nine keys (its loader rejects others).
Json mha2mla_json(const MlaConfig& config);

}  // namespace vmla
