// One layer through all steps of the recipe "best".
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "convert/attention_moments.h"
#include "convert/attention_weights.h"
#include "convert/calibration.h"
#include "convert/layer_fit.h"
#include "convert/per_head_layer.h"
#include "convert/recipe_steps.h"
#include "convert/report.h"
#include "convert/shared_layer.h"
#include "convert/stage_seconds.h"
#include "model/mla_config.h"

namespace vmla {

// A layer that can run, in the type and on the device of the calibration.
struct ConvertedAttention {
  std::unique_ptr<Attention> attention;
  SharedRopeLayer shared;  // of RopeLayout::Shared
  at::Tensor kept;         // int64 [K, R] of RopeLayout::PerHead
  ChosenWidths chosen;
};

// What the layer's attention does with a stream.
AttentionMoments observe_layer(DecoderLayer& layer,
                               const ModelConfig& config,
                               const CalibrationStream& stream,
                               PairMoments pairs);

// In the type and on the device of source.
ConvertedAttention runnable(const SharedLayer& layer, const SourceAttention& source);
ConvertedAttention runnable(const PerHeadLayer& layer, const SourceAttention& source);

// Inputs from the converted stream, targets that lead it to the original's. The two may be the
// same. original is what stands at this layer in the source.
LayerSample layer_sample(DecoderLayer& original,
                         const ModelConfig& config,
                         const StreamBatch& source,
                         const StreamBatch& converted);
std::vector<LayerSample> layer_samples(DecoderLayer& original,
                                       const ModelConfig& config,
                                       const CalibrationStream& source,
                                       const CalibrationStream& converted);

struct FinishOptions {
  std::optional<at::ScalarType> fit_dtype;  // FitOptions::compute_dtype
  StageSeconds* seconds = nullptr;          // "refit" and "fit" are added
  const std::atomic<bool>* cancel = nullptr;
};

// Refit, fit and refit again, as far as the steps say; writes the errors into chosen. A fit that
// leaves a larger error than was there is undone. -> what the layer puts out for each sample,
// [B, S, E].
std::vector<at::Tensor> finish_layer(ConvertedAttention& layer,
                                     const std::vector<LayerSample>& samples,
                                     const RecipeSteps& steps,
                                     const FinishOptions& options);

// The decoder layer with another attention: hidden [B, S, E] -> [B, S, E].
at::Tensor forward_with(const DecoderLayer& original,
                        const Attention& attention,
                        const at::Tensor& hidden,
                        const AttentionContext& context);

}  // namespace vmla
