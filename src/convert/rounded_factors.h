// An attention whose weights stay as they are while copies of fewer bits take part in its passes.
#pragma once

#include <torch/types.h>

#include <vector>

#include "nn/attention.h"

namespace vmla {

class RoundedFactors {
 public:
  // attention must outlive this; its weights are the masters.
  RoundedFactors(Attention& attention, at::ScalarType dtype);

  // Until close(), the attention holds copies. Those of weights that require a gradient are made
  // anew and require one.
  void open();
  // Adds the copies' gradients to the masters'.
  void collect_gradients();
  void close();

 private:
  struct Factor {
    at::Tensor* place;
    at::Tensor master, copy;
  };
  std::vector<Factor> factors_;
};

}  // namespace vmla
