// Products of a decode step that normalise their input themselves: for few rows a launch less in a
// chain of short ones.
#pragma once

#include "kernels/decode_ops.h"

namespace vmla::kernels {

// HF LlamaRMSNorm before a product.
struct InputNorm {
  at::Tensor weight;  // [E], of x's dtype
  double eps = 0;
};

// linear(rms_norm(x), weight, bias, {}). x [B, E], weight [F, E], bias [F] or undefined -> [B, F].
// One kernel for one row, and for 2 to 16 of bfloat16 (whose range holds x times the norm's
// weight); else the norm's kernel and then the product's.
at::Tensor normed_linear(const at::Tensor& x,
                         const InputNorm& norm,
                         const at::Tensor& weight,
                         const at::Tensor& bias,
                         Backend backend = Backend::Auto);

// gated_linear(rms_norm(x), gate_up). x [B, E], gate_up [2 * F, E] -> [B, F].
at::Tensor normed_gated_linear(const at::Tensor& x,
                               const InputNorm& norm,
                               const at::Tensor& gate_up,
                               Backend backend = Backend::Auto);

// Why one kernel cannot do both; nullopt when it can. weight [F, E], of a gated product one half.
std::optional<std::string> why_no_normed_product(const at::Tensor& x,
                                                 const InputNorm& norm,
                                                 const at::Tensor& weight);

}  // namespace vmla::kernels
