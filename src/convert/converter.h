// From a multi-head-attention checkpoint to a latent-attention one, a layer at a time.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "base/files.h"
#include "convert/calibration_data.h"
#include "convert/distillation.h"
#include "convert/modality_weight.h"
#include "convert/report.h"
#include "nn/mla_attention.h"
#include "nn/rope_selection.h"

namespace vmla {

// What the low-rank factors minimise: the weights' error, or the outputs' on calibration data.
enum class Factorization { Svd, Whitened };
Factorization parse_factorization(const std::string& name);  // svd, whitened. Errors: Usage
// How wide the latents of the layers are: all alike, or as CARE spreads a budget over them.
enum class RankAllocation { Uniform, Greedy };
RankAllocation parse_rank_allocation(const std::string& name);  // uniform, greedy. Errors: Usage

// Whether image and text tokens share the factors, or have each their own (MHA2MLA-VLM).
enum class Modality { Joint, Decoupled };
Modality parse_modality(const std::string& name);  // joint, decoupled. Errors: Usage

// All of it unset: the weights alone decide, as in the Python original.
struct StatisticsOptions {
  CalibrationOptions calibration;  // none given: no statistics
  fs::path calibration_cache;      // empty: CalibrationCache's default
  double image_weight = kAllTokensAlike;
  Factorization factorization = Factorization::Svd;
  Modality modality = Modality::Joint;
  double damping = 0.01;    // of the inputs' second moments, as a share of their mean diagonal
  bool balance_kv = false;  // K's and V's outputs count alike in a joint latent
  bool sequential = false;  // a layer's inputs are what the converted layers before it make
  RankAllocation rank_allocation = RankAllocation::Uniform;
  CalibrationOptions report_data;  // held out; the report then compares the two models on it
};

struct ConversionOptions {
  // Directory of an unconverted model, or of one whose K and V are whole (svd_init_method none):
  // its rope selection stays.
  fs::path model;
  fs::path output_dir;
  std::string source_name;  // stored in the output; default: the name of the model's directory
  RopeSelection rope;
  std::string qk_tensor_path;  // rank file of a rank-based selection
  SvdMethod svd_init_method = SvdMethod::Joint;
  std::int64_t low_rank = 8;  // r, per KV head; ignored for SvdMethod::None
  // KV elements as a share of the source's, from which R and r are chosen; 0: they are as given.
  double kv_budget = 0.0;
  bool rope_given = true;       // rope was asked for, so a source of another selection is refused
  bool measure_split = true;    // with kv_budget: by data, where there are any; else R near r
  bool rope_dim_given = false;  // with kv_budget: R is as given, r follows; or the other way round
  bool low_rank_given = false;
  StatisticsOptions statistics;
  // Of the converted factors, on the calibration data. Steps, rate and batch size; the rest of it
  // follows from the other options.
  DistillOptions distillation;
  std::string recipe;                    // stored in the output
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
