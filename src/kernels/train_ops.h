// Operations of a forward pass that may be trained: on a GPU their gradients are fused, too.
#pragma once

#include <torch/types.h>

#include <utility>

#include "kernels/api.h"

namespace vmla::kernels {

// rms_norm and silu_mul of api.h. Where a gradient is recorded on a GPU, 16-bit results of rms_norm
// are rounded once instead of twice.
at::Tensor trained_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor trained_silu_mul(const at::Tensor& gate, const at::Tensor& up);

// HF's rotary embedding, x * cos + rotate_half(x) * sin: x [B, S, H, R], cos and sin
// [B or 1, S, H or 1, R]. The kernel takes 16-bit numbers and R in steps of 16 and gives the
// reference's bits.
at::Tensor rotate_pairs(const at::Tensor& x,
                        const at::Tensor& cos,
                        const at::Tensor& sin,
                        Backend backend = Backend::Auto);

// The gradients of these with respect to x, and to gate and up; no gradient of their own.
at::Tensor rotate_pairs_backward(const at::Tensor& gradient,
                                 const at::Tensor& cos,
                                 const at::Tensor& sin,
                                 Backend backend = Backend::Auto);
std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& gradient,
                                                    const at::Tensor& gate,
                                                    const at::Tensor& up,
                                                    Backend backend = Backend::Auto);

namespace reference {
at::Tensor rotate_pairs(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
at::Tensor rotate_pairs_backward(const at::Tensor& gradient,
                                 const at::Tensor& cos,
                                 const at::Tensor& sin);
std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& gradient,
                                                    const at::Tensor& gate,
                                                    const at::Tensor& up);
}  // namespace reference

}  // namespace vmla::kernels
