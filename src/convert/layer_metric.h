// What a layer's factorisation minimises.
#pragma once

#include <torch/types.h>

namespace vmla {

// Roots are damped_root's of attention's inputs, [E, E] double.
struct LayerMetric {
  at::Tensor root;  // of all tokens; undefined: the weights' error counts, or there are two roots
  // Of image and of text tokens alone, where each have factors of their own; else undefined.
  at::Tensor image_root, text_root;
  double image_share = 0.0;  // of the tokens, as they are weighed against each other

  bool decoupled() const { return image_root.defined(); }
};

}  // namespace vmla
