// Second moments of every layer's attention input, by modality.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "convert/calibration.h"
#include "convert/calibration_cache.h"
#include "convert/modality_weight.h"

namespace vmla {

struct LayerMoments {
  // [2, E + 1, E + 1] double: the sum of [x; 1] [x; 1]^T over image tokens, then over text tokens;
  // so the last row holds the sums of x and the number of tokens.
  at::Tensor sums;

  double image_tokens() const { return sums[0][-1][-1].item<double>(); }
  double text_tokens() const { return sums[1][-1][-1].item<double>(); }
  at::Tensor second_moment(double image_weight = kAllTokensAlike) const;  // E[x x^T], [E, E]
  at::Tensor mean(double image_weight = kAllTokensAlike) const;           // E[x], [E]
};

// Sums one layer's moments batch by batch; the result does not depend on how samples are batched.
class MomentsAccumulator {
 public:
  void add(const at::Tensor& x, const StreamBatch& batch);  // x [B, S, E]
  // On the CPU. Errors: Numeric when activations overflowed.
  LayerMoments finish() const;

 private:
  at::Tensor sums_;
};

struct MomentsOptions {
  fs::path cache_dir;  // empty: CalibrationCache's default
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  // of the forward pass; sums are double
  const std::atomic<bool>* cancel = nullptr;
};

class Moments {
 public:
  // One pass over the data, layer by layer, for those layers that the cache lacks or whose file is
  // damaged. Errors: Io when the cache cannot be written; Numeric; as CalibrationModel's.
  static Moments prepare(const Checkpoint& checkpoint,
                         const CalibrationSet& set,
                         const MomentsOptions& options);

  // Errors: Io when the cache was taken away or damaged meanwhile.
  LayerMoments layer(std::int64_t index) const;
  const CalibrationCache& cache() const { return cache_; }
  std::int64_t computed_layers() const { return computed_; }  // 0: all came from the cache

 private:
  Moments(CalibrationCache cache, std::int64_t hidden)
      : cache_(std::move(cache)), hidden_(hidden) {}

  CalibrationCache cache_;
  std::int64_t hidden_ = 0;
  std::int64_t computed_ = 0;
};

}  // namespace vmla
