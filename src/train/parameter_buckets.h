// Trained parameters laid out flat, a few large tensors instead of hundreds of small ones: the
// optimizer, the gradient norm and the collectives of data parallelism each take one call a bucket.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "nn/layers.h"

namespace vmla {

struct BucketSlot {
  std::string name;
  at::Tensor* parameter;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // elements
  std::int64_t numel = 0;
};

struct ParameterBucket {
  std::vector<BucketSlot> slots;
  bool decay = false;
  at::Tensor values;     // [n] in the parameters' dtype; each parameter is a view of it
  at::Tensor gradients;  // [n]; zero where no slot is

  std::int64_t size() const { return values.size(0); }
};

struct BucketOptions {
  at::ScalarType gradient_dtype = at::kFloat;
  std::int64_t bytes = 25'000'000;  // of values; a larger parameter has a bucket of its own
  std::int64_t divisor = 1;         // n is a multiple of it (ranks that share a bucket)
};

// Moves the parameters into buckets, last layers first (the order in which backward finishes
// them); those without weight decay come last, in one bucket. The parameters stay leaves that
// require a gradient.
std::vector<ParameterBucket> make_buckets(const ParameterList& trained,
                                          const BucketOptions& options = {});

// The part of a flat tensor that belongs to a slot, in the parameter's shape.
at::Tensor slot_view(const at::Tensor& flat, const BucketSlot& slot);

}  // namespace vmla
