// The inputs' statistics that a layer is converted by.
#pragma once

#include <memory>

#include "convert/moments.h"
#include "nn/attention.h"

namespace vmla {

class LayerInputs {
 public:
  virtual ~LayerInputs() = default;
  // Called for layers 0, 1, … in turn.
  virtual LayerMoments moments(std::int64_t layer) = 0;
  // The layer's new attention.
  virtual void converted(std::int64_t layer, const Attention& attention) = 0;
};

// Of the source model. moments must outlive it.
std::unique_ptr<LayerInputs> source_inputs(const Moments& moments);
// Of a model whose earlier layers are converted (CARE): what errors they make is seen by the later
// ones. checkpoint must outlive it.
std::unique_ptr<LayerInputs> sequential_inputs(const Checkpoint& checkpoint,
                                               const CalibrationSet& set,
                                               at::Device device);

}  // namespace vmla
