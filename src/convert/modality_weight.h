// How image and text tokens are weighed against each other.
#pragma once

#include <utility>

namespace vmla {

// The image tokens' share, from 0 to 1. Negative: every token counts alike. Where there are no
// tokens of one kind, the other counts.
inline constexpr double kAllTokensAlike = -1.0;

// Weights by which sums over image and text tokens become one mean: {image, text}.
std::pair<double, double> modality_weights(double image_tokens,
                                           double text_tokens,
                                           double image_weight);

}  // namespace vmla
