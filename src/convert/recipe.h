// Documented sets of the converter's choices, by the name of the method they reproduce.
#pragma once

#include <set>
#include <string>

#include "convert/converter.h"

namespace vmla {

// original: 2-norm ranks where a rank file or data are given (else high), joint SVD of the
// weights, R = r.
// care: 2-norm, whitened by the inputs of the layers converted so far with 10 % damping, ranks
// spread greedily over layers.
// mha2mla-vlm: KL ranks, whitened without damping, factors of their own for image and text tokens;
// both modalities count alike in the ranks.
// transmla-like: uniform selection, whitened with 1 % damping, K balanced against V. Of the
// published method what fits K's and V's own heads: heads are not rotated into each other.
//
// "best" and "transmla" are convert_best. Choices whose flags the user gave (named without dashes)
// stay as they are. Errors: Usage naming the recipes.
void apply_recipe(const std::string& name,
                  const std::set<std::string>& given,
                  ConversionOptions& options);

}  // namespace vmla
