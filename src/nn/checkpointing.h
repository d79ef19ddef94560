// Gradient checkpointing: activations of a layer are computed again in backward instead of kept.
#pragma once

#include "nn/decoder.h"

namespace vmla {

// For DecoderHooks::run_layer. forward keeps the layer's input alone; backward runs the body again
// and passes the gradient through it. Gradients are bit-equal to those without.
at::Tensor run_checkpointed(const std::function<at::Tensor(const at::Tensor&)>& body,
                            const at::Tensor& hidden);  // [B, S, E] -> [B, S, E]

}  // namespace vmla
