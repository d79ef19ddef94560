// One layer through all steps of the recipe "best".
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "convert/attention_moments.h"
#include "convert/attention_weights.h"
#include "convert/calibration.h"
#include "convert/layer_fit.h"
#include "convert/recipe_steps.h"
#include "convert/report.h"
#include "convert/shared_layer.h"
#include "model/mla_config.h"

namespace vmla {

// A layer that can run, in the type and on the device of the calibration.
struct ConvertedAttention {
  std::unique_ptr<Attention> attention;
  SharedRopeLayer shared;  // of RopeLayout::Shared
  at::Tensor kept;         // int64 [K, R] of RopeLayout::PerHead
  ChosenWidths chosen;
};

// How wide a layer becomes.
struct LayerWidths {
  std::int64_t rope = 0;    // n of RopeLayout::Shared, R of PerHead
  std::int64_t latent = 0;  // C
};

// What the layer's attention does with a stream.
AttentionMoments observe_layer(DecoderLayer& layer,
                               const ModelConfig& config,
                               const CalibrationStream& stream);

// In the type and on the device of source.
ConvertedAttention runnable(const SharedLayer& layer, const SourceAttention& source);
// Closed forms only.
ConvertedAttention make_layer(const SourceAttention& source,
                              const AttentionMoments& moments,
                              const RecipeSteps& steps,
                              const LayerWidths& widths);
// The split of a budget that loses least: n and C with 2n + C = budget. RopeLayout::Shared only.
LayerWidths split_budget(const SourceAttention& source,
                         const AttentionMoments& moments,
                         const RecipeSteps& steps,
                         std::int64_t budget);

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

// Refit, fit and refit again, as far as the steps say; writes the errors into chosen.
void finish_layer(ConvertedAttention& layer,
                  const std::vector<LayerSample>& samples,
                  const RecipeSteps& steps,
                  const std::atomic<bool>* cancel);

// The decoder layer with another attention: hidden [B, S, E] -> [B, S, E].
at::Tensor forward_with(const DecoderLayer& original,
                        const Attention& attention,
                        const at::Tensor& hidden,
                        const AttentionContext& context);

}  // namespace vmla
