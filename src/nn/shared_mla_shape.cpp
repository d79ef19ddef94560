#include "nn/shared_mla_shape.h"

namespace vmla {

CacheLayout shared_mla_cache_layout(const SharedMlaShape& s, CacheMode mode) {
  const std::int64_t heads = s.attention.kv_heads, dim = s.attention.head_dim;
  if (mode == CacheMode::Expanded)
    return {{{"k", {heads, dim + 2 * s.components}}, {"v", {heads, dim}}}};
  return {{{"k_rope", {1, 2 * s.components}}, {"latent", {s.latent_dim}}}};
}

}  // namespace vmla
