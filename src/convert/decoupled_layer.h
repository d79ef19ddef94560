// One layer's factors for image and for text tokens (MHA2MLA-VLM's modality-decoupled SVD).
#pragma once

#include "convert/layer_conversion.h"
#include "convert/layer_metric.h"

namespace vmla {

// Twice convert_layer, each time in the metric of one modality: tensors kv_proj_img.* and
// kv_proj_text.* beside q_proj and k_r_proj. The report tells both shares of retained energy, and
// what both lose together.
ConvertedLayer convert_decoupled_layer(const SplitRows& rows,
                                       const MlaShape& shape,
                                       const LayerMetric& metric,
                                       bool balance_kv,
                                       at::Device device,
                                       at::ScalarType stored);

// Squared singular values of [K_nope; V] as tokens of both modalities see it: each one's, weighed
// by its share of the tokens. What both lose at rank r is the sum of those behind the r-th.
at::Tensor decoupled_spectrum(const at::Tensor& matrix, const LayerMetric& metric);

}  // namespace vmla
