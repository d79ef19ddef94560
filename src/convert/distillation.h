// Distilling the source's next-token distribution into a conversion's own factors, end to end.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "convert/calibration_data.h"
#include "convert/distillation_report.h"
#include "convert/modality_weight.h"
#include "nn/attention.h"

namespace vmla {

class Checkpoint;

struct DistillOptions {
  std::int64_t steps = 0;        // 0: none
  double learning_rate = 0.001;  // times each tensor's root mean square
  std::int64_t batch_size = 16;  // conversations of a step, and half as many text windows
  // Conversations to learn from, and half as many text windows; fewer than the calibration's:
  // those.
  std::int64_t samples = 0;
  // Share of the conversations' mean beside the text's; kAllTokensAlike: both means alike.
  double answer_weight = kAllTokensAlike;
  std::uint64_t seed = 0;              // of the samples' order
  std::int64_t samples_at_a_time = 8;  // changes speed and memory, not the result
  // Activations that backward may find kept; above it layers are computed again.
  std::uint64_t activation_bytes = 2ULL << 30;
  at::Device device = at::kCPU;
  const std::atomic<bool>* cancel = nullptr;
};

// The calibration's data, widened to what is learned from.
CalibrationOptions data_to_learn(const DistillOptions& options, CalibrationOptions calibration);

// Errors: Usage for what cannot be: negative numbers, no calibration data.
void check_distillation(const DistillOptions& options, const CalibrationOptions& calibration);

// Adam on every weight of the converted layers but q_proj and biases, towards a smaller KL(source
// || converted), mean over text windows' tokens plus mean over conversations' answer tokens, the
// rest of the model being the source's. The factors with the least KL on held_out stay, which are
// the given ones where it never fell.
//
// layers: float32 on options.device, one for each of the source's. All of the source's decoder is
// in memory, too. Errors: Usage without a token to predict; as CalibrationModel's.
DistillationReport distill(const Checkpoint& source,
                           const CalibrationSet& data,
                           const CalibrationSet& held_out,
                           std::vector<std::unique_ptr<Attention>>& layers,
                           const DistillOptions& options);

}  // namespace vmla
