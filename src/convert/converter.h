// From a multi-head-attention checkpoint to a latent-attention one, a layer at a time.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "base/files.h"
#include "convert/report.h"
#include "nn/mla_attention.h"
#include "nn/rope_selection.h"

namespace vmla {

struct ConversionOptions {
  fs::path model;  // directory of an unconverted model
  fs::path output_dir;
  std::string source_name;  // stored in the output; default: the name of the model's directory
  RopeSelection rope;
  std::string qk_tensor_path;  // rank file of a rank-based selection
  SvdMethod svd_init_method = SvdMethod::Joint;
  std::int64_t low_rank = 8;             // r, per KV head; ignored for SvdMethod::None
  bool is_gqa2mha2mla = false;           // K and V are repeated to H heads first, then all is MHA
  at::ScalarType dtype = at::kBFloat16;  // of every tensor of the output
  at::Device device = at::kCPU;          // where the SVD runs
  bool overwrite = false;
  const std::atomic<bool>* cancel = nullptr;  // looked at between layers and tensors
};

// Writes output_dir: weights in the source's naming style, config.json with "mha2mla" and
// "vlm_mla", the source's tokenizer and processor files, rope_ranks.pth for a rank-based selection
// (and its absolute path in qk_tensor_path, which the Python original opens; our loader looks
// inside the directory first), conversion_report.json. output_dir appears whole or not at all.
//
// Cancelled, it writes nothing and says so in the report.
//
// Errors: Usage (selection, method or low_rank do not fit the model: nothing is clamped, since
// loaders take C = low_rank * K from the config; output exists), Unsupported (already converted),
// Checkpoint (weights or ranks do not fit), Numeric (NaN), Io.
ConversionReport convert_checkpoint(const ConversionOptions& options);

}  // namespace vmla
