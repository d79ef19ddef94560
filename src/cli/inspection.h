// What a model directory holds, told from its config and file headers; no weight is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace vmla {

struct ModelPart {
  std::string name;             // "vision tower", "projector", "language model", "other"
  std::int64_t parameters = 0;  // of the tensors that the model has
  std::int64_t bytes = 0;       // of all its tensors in the files
};

struct LayerCache {
  std::string layout;                  // CacheLayout::name()
  std::int64_t rope_dims = 0;          // R; D where nothing was taken away; 2n of "shared"
  std::int64_t latent_dims = 0;        // C, the width of each latent; 0 without one
  std::int64_t value_latent_dims = 0;  // of V's latent where it has its own width; else 0
};

struct Inspection {
  std::string family;     // the architecture's name in config.json
  std::string dtype;      // the most common one of the weights
  std::string attention;  // "mha", "gqa" or "mla"
  std::string text_model;
  std::vector<ModelPart> parts;
  std::vector<LayerCache> layers;
  std::int64_t kv_elements_per_token = 0;  // over all layers
  std::int64_t kv_bytes_per_token = 0;     // in dtype
  // Of an MLA model.
  std::string rope_selection;  // "high", "2-norm" …, "shared"; empty otherwise
  std::string svd_method;
  bool decoupled = false;  // factors by modality
  std::vector<std::string> problems;

  std::int64_t parameters() const;
  std::int64_t weight_bytes() const;
};

// Whatever would keep the model from loading is a problem in the list. Only what leaves nothing to
// say is an error: no directory, no readable config.json, an unknown family, a damaged weight file.
Inspection inspect_model(const fs::path& dir);

Json inspection_json(const Inspection& inspection);
std::string inspection_text(const Inspection& inspection);

}  // namespace vmla
