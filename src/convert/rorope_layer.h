// One layer's conversion as TransMLA does it, in the layout "shared".
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "convert/calibration.h"
#include "convert/shared_layer.h"

namespace vmla {

// Real principal components of the keys of all heads, per group of neighbouring frequencies
// (RoRoPE; a group of one frequency commutes with RoPE, one of more is FreqFold), of which the
// first keep RoPE at the group's highest frequency; then one PCA of the other components, balanced
// against V, and V.
//
// components n: D/2 keeps one a frequency; a divisor of D/2 keeps one of each D/2/n frequencies; a
// multiple p D/2 keeps p a frequency, K of them all.
SharedLayer make_rorope_layer(const SourceAttention& source,
                              const at::Tensor& inputs,  // as AttentionMoments'
                              std::int64_t components,
                              std::int64_t latent_dim);

// The most that the latent can use.
std::int64_t largest_rorope_latent(const AttentionShape& shape, std::int64_t components);

// The n that leave a budget of 2n + C numbers a token at least one for the latent, most first:
// those of the published method, or all when the budget is the source's. Errors: Usage below 3
// numbers.
std::vector<std::int64_t> rorope_candidates(const AttentionShape& shape, std::int64_t budget);
bool is_rorope_width(const AttentionShape& shape, std::int64_t components);

// AttentionMoments of the inputs alone.
AttentionMoments observe_inputs(const DecoderLayer& layer,
                                const CalibrationStream& stream,
                                bool with_bias);

}  // namespace vmla
