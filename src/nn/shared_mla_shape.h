// The geometry of the layout "shared" and what it caches, as data.
#pragma once

#include <cstdint>

#include "nn/attention_shape.h"
#include "nn/cache_layout.h"

namespace vmla {

// One layer's geometry; n and C may differ from layer to layer.
struct SharedMlaShape {
  AttentionShape attention;
  std::int64_t components = 0;  // n complex rope components, 2n numbers a token
  std::int64_t latent_dim = 0;  // C
};

// {k_rope [1, 2n], latent [C]}; expanded {k [K, D + 2n], v [K, D]}.
CacheLayout shared_mla_cache_layout(const SharedMlaShape& shape, CacheMode mode);

}  // namespace vmla
