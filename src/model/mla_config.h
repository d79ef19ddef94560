// config.json's "mha2mla" object (the Python original's) and its sibling "vlm_mla" (ours).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "nn/mla_shape.h"
#include "nn/rope_selection.h"
#include "nn/shared_mla_shape.h"

namespace vmla {

inline constexpr std::int64_t kVlmMlaFormatVersion = 1;

// One layer of the layout "shared" (nn/shared_mla_attention.h): its own widths.
struct SharedRopeLayer {
  std::vector<std::int64_t> frequencies;  // j(m) of each of the n components
  std::int64_t latent_dim = 0;            // C
};

// One layer's latents where they differ from layer to layer.
struct LayerLatents {
  std::int64_t key = 0;    // the joint latent, or K's
  std::int64_t value = 0;  // V's where it stands alone, else 0
};

struct MlaConfig {
  RopeSelection rope;          // partial_rope_version, rope_dim_for_mla, uniform_start_point
  std::string qk_tensor_path;  // where the rank file was when the model was converted; may be gone
  SvdMethod svd_init_method = SvdMethod::Joint;
  std::int64_t low_rank = 8;  // r, per KV head: C = r * K
  bool is_baseline = false;
  bool is_gqa2mha2mla = false;
  bool is_mla_from_scratch = false;
  std::string rope_ranks;  // vlm_mla.rope_ranks: the rank file inside the model directory, or empty

  // vlm_mla.layers of vlm_mla.rope_layout "shared"; such a model has no "mha2mla", for the Python
  // original does not know the layout, and nothing above but rope.version holds. Empty: "per_head".
  std::vector<SharedRopeLayer> shared_layers;

  bool is_shared() const { return !shared_layers.empty(); }
  // The geometry of a layer of the layout "shared".
  SharedMlaShape shared_shape(const AttentionShape& attention, std::int64_t layer) const;
  // vlm_mla.layers of the layout "per_head": latents that differ from layer to layer, which the
  // Python original does not know. Empty: all are low_rank * K wide.
  std::vector<LayerLatents> layer_latents;
  // vlm_mla.modality "decoupled": image and text tokens have factors of their own, in the layout of
  // MHA2MLA-VLM, which the Python original does not know.
  bool decoupled = false;

  // The geometry of a layer otherwise. kv_heads is text_config's num_key_value_heads.
  MlaShape layer_shape(const AttentionShape& attention, std::int64_t layer) const;
};

// Whether a config.json is that of a converted model.
bool has_mla_config(const Json& config);
// Errors: Config (missing or unknown keys, wrong types), Unsupported (is_baseline, a newer
// vlm_mla.format_version, an unknown rope_layout or modality).
MlaConfig parse_mla_config(const Json& config, const std::string& subject);
// Errors: Config when the layers of the layout "shared" do not fit the text model.
void check_shared_layers(const MlaConfig& config,
                         std::int64_t layers,
                         std::int64_t head_dim,
                         const std::string& subject);
// Errors: Config when layer_latents do not fit the text model.
void check_layer_latents(const MlaConfig& config,
                         const AttentionShape& attention,
                         std::int64_t layers,
                         const std::string& subject);
// vlm_mla's layers of the layout "per_head".
void set_layer_latents(Json& vlm_mla, const std::vector<LayerLatents>& layers);
// vlm_mla's rope_layout and layers.
void set_shared_layers(Json& vlm_mla, const std::vector<SharedRopeLayer>& layers);
// Exactly the original's nine keys (its loader rejects others).
Json mha2mla_json(const MlaConfig& config);

}  // namespace vmla
