// From a directory to a model in memory, and the checks on the way.
#pragma once

#include <torch/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/family.h"
#include "model/rope_dims.h"
#include "model/vlm.h"
#include "model/weights_check.h"

namespace vmla {

struct LoadOptions {
  at::Device device = at::kCPU;
  std::optional<at::ScalarType> dtype;  // default: the checkpoint's
  RopeDimsSource rope;
  // On a GPU, see below.
  bool spread_latents = false;  // for caches that keep latents in int4: model/latent_basis.h
  bool merge_projections = false;
};

// Mixed dtypes are fine (the Python original writes kv_proj in fp32 beside bf16): all is cast to
// options.dtype. Errors: Config, Unsupported, Checkpoint (all missing, unexpected and misshaped
// names in one message), Device.
std::unique_ptr<Vlm> load_vlm(const Checkpoint& checkpoint, const LoadOptions& options = {});
std::unique_ptr<Vlm> load_vlm(const fs::path& dir, const LoadOptions& options = {});

// The parameters become the checkpoint's tensors of their names in dtype on device, copies of their
// own (the file may change, training writes to them); the file's pages are let go. To a GPU through
// pinned staging buffers, which stay for the next call until release_staging.
void read_weights(const Checkpoint& checkpoint,
                  const ParameterList& parameters,
                  at::ScalarType dtype,
                  at::Device device);

// Attention::merge_projections and the MLP's, layer by layer, giving freed memory back: at most one
// layer is there twice. For inference.
void merge_projections(Vlm& model);

// "auto" | "cpu" | "cuda" | "cuda:1". Errors: Usage, Device.
at::Device parse_device(const std::string& name);

}  // namespace vmla
