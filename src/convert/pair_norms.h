// The 2-norm importance of rotary pairs, accumulated over calibration samples.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "model/vlm.h"

namespace vmla {

// Source: MHA2MLA. A pair is dims j and j + D/2 of a head. Per sample the mean over all tokens of
// the pair's length in q and in k, before RoPE; the mean of each over samples; their product, per
// query head; summed over the query group.
class PairNorms {
 public:
  // The model has MHA and outlives this.
  explicit PairNorms(Vlm& model);

  // Watches one forward pass: hidden [B, S, E] is the input of a layer's attention, real bool [B,
  // S] says which tokens are no padding.
  void add(std::int64_t layer, const at::Tensor& hidden, const at::Tensor& real);
  void count(std::int64_t samples) { samples_ += samples; }

  at::Tensor query_norms() const;  // [L, H, D/2] double
  at::Tensor key_norms() const;    // [L, K, D/2] double
  // [L, K, D/2] double. Errors: ErrorKind::Numeric when activations overflowed.
  at::Tensor scores() const;

 private:
  struct Layer {
    const at::Tensor *q_weight, *q_bias, *k_weight, *k_bias;  // biases may be null
    at::Tensor q_sum, k_sum;                                  // [H, D/2], [K, D/2] double
  };
  at::Tensor mean_over_samples(at::Tensor Layer::*sum) const;

  AttentionShape shape_;
  std::vector<Layer> layers_;
  std::int64_t samples_ = 0;
};

// scores [L, K, D/2] -> uint8 [L, K, D]: 0 = highest; equal scores rank in order; both halves carry
// the same value.
at::Tensor ranks_of_scores(const at::Tensor& scores);

}  // namespace vmla
