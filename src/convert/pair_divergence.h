// What attention loses when a rotary pair stands still: the KL importance of rotary pairs.
#pragma once

#include <torch/types.h>

#include "convert/calibration.h"
#include "convert/moments.h"

namespace vmla {

// Per query: KL(a || a') of the causal attention probabilities a to those a' in which one pair
// (dims j and j + D/2) of the head's q and k is not rotated, summed over the query group of a key
// head. The mean over queries is taken by modality.
class PairDivergence {
 public:
  void add(const AttentionView& view, const StreamBatch& batch);
  at::Tensor image() const;  // [K, D/2] double, mean over image queries; zeros without any
  at::Tensor text() const;
  // [K, D/2]: both, weighed. Errors: Numeric when activations overflowed.
  at::Tensor scores(double image_weight) const;

 private:
  at::Tensor sums_;  // [2, K, D/2], image and text
  double image_queries_ = 0.0, text_queries_ = 0.0;
};

}  // namespace vmla
