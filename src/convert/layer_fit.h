// Fitting a converted layer's small factors to what the original layer puts out.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "convert/factor_optimizer.h"
#include "nn/attention.h"

namespace vmla {

// One calibration batch at one layer.
struct LayerSample {
  at::Tensor x;       // [B, S, E], the converted stream after input_layernorm
  at::Tensor target;  // [B, S, E], what attention should add to the converted stream
  at::Tensor real;    // bool [B, S]
  AttentionContext context;
  bool is_text = false;
};

struct FitOptions : FactorSchedule {
  std::int64_t windows = 8;         // text windows of a step
  std::int64_t conversations = 16;  // of a step
  std::uint64_t seed = 1;
  // Of the passes forward and backward; default: the weights' own. The weights that are stepped,
  // the error and its sum keep theirs.
  std::optional<at::ScalarType> compute_dtype;
  const std::atomic<bool>* cancel = nullptr;
};

// Adam on every weight of attention but q_proj and biases, so that its output meets the targets:
// mean |error|^2 over text windows' tokens plus that over conversations'. No labels, no backward
// through other layers.
void fit_layer(Attention& attention,
               const std::vector<LayerSample>& samples,
               const FitOptions& options);

// mean |error|^2 and mean |target|^2 of all samples, each kind of sample counting alike.
struct LayerError {
  double error = 0.0, target = 0.0;

  double share() const { return target > 0 ? error / target : 0.0; }
};
LayerError layer_error(const Attention& attention, const std::vector<LayerSample>& samples);

// Replaces o_proj by the ridge regression of the targets on what the heads put out -> layer_error
// of that, which the regression's sums tell. outputs: what it puts out now for each sample,
// [B, S, E].
LayerError refit_output(Attention& attention,
                        const std::vector<LayerSample>& samples,
                        std::vector<at::Tensor>* outputs = nullptr);

}  // namespace vmla
