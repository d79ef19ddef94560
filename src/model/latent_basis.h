// Another basis for the latents, so that coarse numbers lose less: docs/kv_cache.md.
#pragma once

#include <torch/types.h>

#include "model/vlm.h"

namespace vmla {

struct LatentBasis {
  at::Tensor to;    // T [C, C], fp64: the new latent is T c
  at::Tensor from;  // its inverse
};

// Neighbours in a group share one scale, so what quantising a latent costs is the sum over its
// dimensions of (mean square) * (weight of an error there in K and V). The basis makes both alike
// and spreads them evenly over the dimensions, where that sum is least. Inputs are taken to be of
// unit covariance. down [C, E], up [rows, C]: everything that reads the latent, stacked.
LatentBasis even_basis(const at::Tensor& down, const at::Tensor& up);

// Moves every latent of a converted model into its even_basis: down becomes T down, up becomes
// up T^-1. What the model computes stays the same but for rounding. Before projections are merged.
void spread_latents(Vlm& model);

}  // namespace vmla
