// A plan's layers one at a time: read, converted, and made to run.
#pragma once

#include <torch/types.h>

#include <memory>

#include "convert/conversion_plan.h"
#include "convert/layer_conversion.h"
#include "convert/layer_metric.h"

namespace vmla {

class LayerConverter {
 public:
  // Everything must outlive it.
  LayerConverter(const Checkpoint& source,
                 const ConversionPlan& plan,
                 const ConversionOptions& options)
      : source_(source), plan_(plan), options_(options) {}

  // Errors name the layer.
  ConvertedLayer convert(std::int64_t layer, const LayerMetric& metric) const;
  // In float32 on the options' device, rounded to a dtype first: to that of the output, it is as it
  // will be stored. o_proj is the source's unless converted has one.
  std::unique_ptr<Attention> attention(std::int64_t layer,
                                       const ConvertedLayer& converted,
                                       at::ScalarType rounded_to) const;
  SplitRows rows(std::int64_t layer) const;
  at::Tensor kept(std::int64_t layer) const;  // int64 [K, R]
  // Lets the source's pages go.
  void forget(std::int64_t layer) const;

 private:
  const Checkpoint& source_;
  const ConversionPlan& plan_;
  const ConversionOptions& options_;
};

// "language_model.model.layers.3.self_attn."
std::string attention_prefix(std::int64_t layer);

}  // namespace vmla
