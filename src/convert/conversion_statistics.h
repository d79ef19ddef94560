// What a conversion learns from data, each part when it is first asked for.
#pragma once

#include <torch/types.h>

#include <memory>
#include <optional>
#include <string>

#include "convert/converter.h"
#include "convert/layer_inputs.h"
#include "convert/layer_metric.h"
#include "model/config.h"

namespace vmla {

class ConversionStatistics {
 public:
  // Everything must outlive it.
  ConversionStatistics(const Checkpoint& source,
                       const ModelConfig& config,
                       const ConversionOptions& options)
      : source_(source), config_(config), options_(options) {}

  bool given() const { return options_.statistics.calibration.given(); }
  const CalibrationSet& set();       // of the conversion, without what a distillation holds out
  const CalibrationSet& to_learn();  // of a distillation: that, or more
  const CalibrationSet& held_out();
  // uint8 [L, K, D] of a rank-based selection: "2-norm" or "kl".
  at::Tensor ranks(const std::string& version);
  // Fresh inputs for one walk through the layers; null for a factorisation of the weights alone.
  std::unique_ptr<LayerInputs> inputs(bool sequential);
  // The metric of the factors, from inputs; all undefined without. Errors: Usage when factors by
  // modality lack tokens of one.
  LayerMetric metric(LayerInputs* inputs, std::int64_t layer) const;

 private:
  const Moments& moments();
  at::Tensor scores(const std::string& version);

  const Checkpoint& source_;
  const ModelConfig& config_;
  const ConversionOptions& options_;
  std::optional<CalibrationSet> set_, to_learn_, held_out_;
  std::optional<Moments> moments_;
};

}  // namespace vmla
