// Ranking of rotary pairs by what attention loses without their rotation.
#pragma once

#include "convert/calibration_data.h"
#include "convert/pair_divergence.h"
#include "convert/rank_2norm.h"

namespace vmla {

struct KlRankOptions {
  fs::path model;
  fs::path output_path;  // .pth; an existing file is replaced
  CalibrationOptions data;
  double image_weight = kAllTokensAlike;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  // of the forward pass; divergences are double
};

// Writes output_path in the format of 2-norm ranks. Layers are in memory one at a time. Errors: as
// rank_by_2norm's and CalibrationSet's.
RankReport rank_by_kl(const KlRankOptions& options);

// The scores alone: [L, K, D/2] double.
at::Tensor kl_scores(const Checkpoint& checkpoint,
                     const CalibrationSet& set,
                     const KlRankOptions& options);

}  // namespace vmla
