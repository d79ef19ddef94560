// What one attention layer stores per token, as data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vmla {

struct CachePlane {
  std::string name;  // "k", "v", "k_rope", "latent", "latent_k", "latent_v", "k_nope"
  std::vector<std::int64_t> shape;  // per token: [K, D], [C] …

  std::int64_t elements() const;
};

// MHA {k [K, D], v [K, D]}; MLA joint {k_rope [K, R], latent [C]}; split {k_rope, latent_k,
// latent_v}; and so on.
struct CacheLayout {
  std::vector<CachePlane> planes;

  std::int64_t elements_per_token() const;
  std::string name() const;  // "k+v", "k_rope+latent"
};

std::int64_t elements_per_token(const std::vector<CacheLayout>& layers);

}  // namespace vmla
