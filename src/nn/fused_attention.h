// libtorch's attention with the choice among its kernels that suits inference and fits.
#pragma once

#include <torch/types.h>

#include <optional>

namespace vmla {

// scaled_dot_product_attention. q [B, H, S, D]; k, v [B, K, T, D]; bias: its mask, a bool or an
// addend that spreads to [B, H, S, T]; causal: the triangle of equally many queries and keys;
// grouped: H is a multiple of K. -> [B, H, S, D]
at::Tensor fused_attention(const at::Tensor& q,
                           const at::Tensor& k,
                           const at::Tensor& v,
                           const std::optional<at::Tensor>& bias,
                           bool causal,
                           double scale,
                           bool grouped);

}  // namespace vmla
