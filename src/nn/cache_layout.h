// What one attention layer stores per token, as data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/cache_format.h"

namespace vmla {

struct CachePlane {
  std::string name;  // "k", "v", "k_rope", "latent", "latent_k", "latent_v", "k_nope", "modality"
  std::vector<std::int64_t> shape;  // per token: [K, D], [C] …
  PlaneCodec codec = {};  // an attention leaves it open, but for flags; with_format settles it

  std::int64_t elements() const;
  std::int64_t bytes() const { return codec.bytes(elements()); }  // of one token
};

// MHA {k [K, D], v [K, D]}; MLA joint {k_rope [K, R], latent [C]}; split {k_rope, latent_k,
// latent_v}; and so on.
struct CacheLayout {
  std::vector<CachePlane> planes;

  std::int64_t elements_per_token() const;
  std::int64_t bytes_per_token() const;  // exact, scales included
  std::string name() const;              // "k+v", "k_rope+latent"
  // "int8", or where planes differ "k_rope int8 + latent int4". Flags are left out.
  std::string stored_as() const;
};

std::int64_t elements_per_token(const std::vector<CacheLayout>& layers);
std::int64_t bytes_per_token(const std::vector<CacheLayout>& layers);

// The layouts with every plane's codec settled. model_dtype: what Auto stands for.
std::vector<CacheLayout> with_format(std::vector<CacheLayout> layers,
                                     const CacheFormat& format,
                                     CacheDtype model_dtype);

}  // namespace vmla
