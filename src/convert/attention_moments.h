// What one layer's attention does with calibration data, in the second moments that the conversion
// minimises its losses by.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <vector>

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
  // Mean over sampled queries of the covariance under a of the score's parts from each pair:
  // Re(conj(q) k), Re(i conj(q) k), and with the rotation. [H, 3*D/2, 3*D/2] of all pairs with each
  // other, or [H, 3, 3, D/2] of each pair by itself.
  at::Tensor pairs;
};

// Covariances of all pairs with each other cost many times more.
enum class PairMoments { All, EachAlone };

// Text windows and conversations are averaged apart and then count alike, however many tokens each
// kind has: an image's tokens must not drown the text, nor text the images.
class MomentObserver {
 public:
  // o_weight [E, H*D]; with_bias: keys have a bias.
  MomentObserver(const AttentionShape& shape,
                 const at::Tensor& o_weight,
                 bool with_bias,
                 PairMoments pairs = PairMoments::All);

  // Views have x, q, k, v and the rotated forms; float32 or double is computed in as it comes.
  void add(const AttentionView& view, const StreamBatch& batch);
  // Errors: Numeric for NaN or infinity; Internal when nothing was added.
  AttentionMoments finish() const;

 private:
  struct Sums {
    at::Tensor inputs, queries, sensitivity, pairs;
    double tokens = 0, sampled = 0;
  };
  // Some rows of a batch, [B, H, S, D] each but real [B, S].
  struct Rows {
    at::Tensor q, k, v, q_rot, k_rot;  // k, v and k_rot [B, K, S, D]
    at::Tensor real;
    std::vector<std::int64_t> lengths;
  };
  void add_tokens(const AttentionView& view, const at::Tensor& real, Sums& sums) const;
  void add_rows(const Rows& rows, Sums& sums) const;
  void add_pairs_alone(const Rows& rows, const at::Tensor& attention, Sums& sums) const;
  void add_all_pairs(const Rows& rows, const at::Tensor& attention, Sums& sums) const;
  at::Tensor per_query_head(const at::Tensor& x) const;

  AttentionShape shape_;
  bool with_bias_;
  PairMoments pairs_;
  at::Tensor value_metric_;   // O_h^T O_h [H, D, D]
  std::array<Sums, 2> sums_;  // conversations, text
};

// O_h^T O_h of o_weight [E, H*D] -> [H, D, D] double.
at::Tensor output_metric(const at::Tensor& o_weight, std::int64_t heads);

}  // namespace vmla
