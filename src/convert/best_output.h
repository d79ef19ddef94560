// What convert_best leaves behind: config, report, tensors.
#pragma once

#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "convert/attention_weights.h"
#include "convert/best_conversion.h"

namespace vmla {

// In the dtype of the output and on the CPU.
struct ConvertedLayers {
  std::vector<AttentionWeights> weights;
  std::vector<SharedRopeLayer> shared;  // of the layout "shared"
  std::vector<at::Tensor> kept;         // of the layout "per_head": int64 [K, R]
  std::vector<LayerReport> reports;
  std::optional<NextTokenAgreement> agreement;
  std::optional<DistillationReport> distillation;
  Json recipe;  // LayerMethod's
};

// Writes options.output_dir and tells of it; times are left out. Nothing is written when cancelled.
ConversionReport write_best(const Checkpoint& source,
                            const ModelConfig& config,
                            const ConvertedLayers& layers,
                            const BestOptions& options);

}  // namespace vmla
