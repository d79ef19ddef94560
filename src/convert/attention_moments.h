// What one layer's attention does with calibration data, in the second moments that the conversion
// minimises its losses by.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>

#include "convert/calibration.h"
#include "nn/attention.h"

namespace vmla {

// All in double. a = causal softmax attention, O_h the head's columns of o_proj.
struct AttentionMoments {
  at::Tensor inputs;   // [E', E'], mean of x x^T; with key biases x carries a 1 behind (E' = E + 1)
  at::Tensor queries;  // [H, D, D], mean of q q^T before RoPE
  // kappa [H]: mean over queries of sum_u a |O_h v_u|^2 - |O_h sum_u a v_u|^2, what a logit error
  // of variance 1 under a does to the squared output, to second order.
  at::Tensor sensitivity;
  // [H, 3*D/2, 3*D/2]: mean over sampled queries of the covariance under a of the score's parts
  // from each pair: Re(conj(q) k), Re(i conj(q) k), and with the rotation.
  at::Tensor pairs;
};

// Text windows and conversations are averaged apart and then count alike, however many tokens each
// kind has: an image's tokens must not drown the text, nor text the images.
class MomentObserver {
 public:
  // o_weight [E, H*D]; with_bias: keys have a bias.
  MomentObserver(const AttentionShape& shape, const at::Tensor& o_weight, bool with_bias);

  // Views have q, k, v and their rotated forms; float32 or double is computed in as it comes.
  void add(const AttentionView& view, const StreamBatch& batch);
  // Errors: Numeric for NaN or infinity; Internal when nothing was added.
  AttentionMoments finish() const;

 private:
  struct Sums {
    at::Tensor inputs, queries, sensitivity, pairs;
    double tokens = 0, sampled = 0;
  };
  void add_tokens(const AttentionView& view, const at::Tensor& real, Sums& sums) const;
  void add_row(const AttentionView& view, std::int64_t row, std::int64_t tokens, Sums& sums) const;

  AttentionShape shape_;
  bool with_bias_;
  at::Tensor value_metric_;   // O_h^T O_h [H, D, D]
  std::array<Sums, 2> sums_;  // conversations, text
};

// O_h^T O_h of o_weight [E, H*D] -> [H, D, D] double.
at::Tensor output_metric(const at::Tensor& o_weight, std::int64_t heads);

}  // namespace vmla
