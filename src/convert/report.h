// What a conversion kept and what it saved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace vmla {

// Errors are relative Frobenius norms, measured on the factors as they are stored.
struct LayerReport {
  double retained_energy =
      1.0;                    // share of the squared singular values, over all that is factorised
  double k_nope_error = 0.0;  // |K_nope - up_k down| / |K_nope|
  double v_error = 0.0;       // |V - up_v down| / |V|
  double seconds = 0.0;
};

struct ConversionReport {
  std::string source;  // name of the source model
  std::string dtype;
  Json mha2mla;                  // the settings, as in config.json
  std::int64_t latent_dims = 0;  // C; 0 without a low-rank latent
  std::vector<LayerReport> layers;
  std::int64_t kv_bytes_per_token_before = 0;  // over all layers, in the dtype of the output
  std::int64_t kv_bytes_per_token_after = 0;
  std::int64_t weight_bytes_before = 0;
  std::int64_t weight_bytes_after = 0;
  double seconds = 0.0;
  bool cancelled = false;  // nothing was written

  // with_times: the stored report leaves times out, so that equal conversions give equal bytes.
  Json json(bool with_times) const;
  Json summary() const;  // means over the layers and KV bytes; stands in config.json
  std::string text() const;
};

}  // namespace vmla
