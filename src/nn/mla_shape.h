// The geometry of latent attention and what it caches, as data.
#pragma once

#include <cstdint>
#include <string>

#include "nn/attention_shape.h"
#include "nn/cache_layout.h"

namespace vmla {

enum class SvdMethod { Joint, Split, OnlyKey, OnlyValue, None };
// The original's names: joint, split, only_key, only_value, none. Errors: ErrorKind::Usage.
SvdMethod parse_svd_method(const std::string& name);
std::string svd_method_name(SvdMethod method);

// One layer's geometry. N = D - R.
struct MlaShape {
  AttentionShape attention;
  SvdMethod method = SvdMethod::Joint;
  std::int64_t rope_dim = 0;          // R
  std::int64_t latent_dim = 0;        // C, width of the joint latent or of K's; unused for None
  std::int64_t value_latent_dim = 0;  // of V's latent where it stands alone; 0: as wide as K's
  // Joint only: image and text tokens have factors of their own, of one width.
  bool decoupled = false;

  bool low_rank_key() const { return method != SvdMethod::OnlyValue && method != SvdMethod::None; }
  bool low_rank_value() const { return method != SvdMethod::OnlyKey && method != SvdMethod::None; }
  bool joint() const { return method == SvdMethod::Joint; }
  std::int64_t nope_dim() const { return attention.head_dim - rope_dim; }
  std::int64_t value_latent() const { return value_latent_dim > 0 ? value_latent_dim : latent_dim; }
};

// Joint {k_rope [K, R], latent [C]}, decoupled with a flag {modality [1]}, true for image tokens;
// else k_rope, then latent_k [C] or k_nope [K, N], then latent_v
// [C] or v [K, D].
CacheLayout mla_cache_layout(const MlaShape& shape, CacheMode mode);

}  // namespace vmla
