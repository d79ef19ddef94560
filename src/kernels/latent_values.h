// Latent attention with the values' projection behind it: for few rows a launch less.
#pragma once

#include "kernels/decode_ops.h"

namespace vmla::kernels {

// heads_linear(mla_decode(...), up_v). up_v [K, D, C], head h reads weight h / (H / K) -> [B, H,
// D]. Up to two rows the projection's kernel merges the splits itself where those are few.
at::Tensor mla_decode_values(const at::Tensor& q_rope,    // [B, H, R]
                             const at::Tensor& q_latent,  // [B, H, C]
                             const Plane& k_rope,
                             const Plane& latent,
                             const DecodeSpan& span,
                             double scale,
                             const at::Tensor& up_v,
                             Backend backend = Backend::Auto);

}  // namespace vmla::kernels
