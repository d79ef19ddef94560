// Fused operations, torch in and torch out. Each has a plain ATen reference that is differentiable
// and selectable.
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>

namespace vmla::kernels {

// Auto: the CUDA kernel where it is supported and no gradient is recorded, else the reference.
enum class Backend { Auto, Reference, Cuda };

// Why the CUDA kernels cannot take this tensor; nullopt when they can.
std::optional<std::string> why_unsupported(const at::Tensor& x);

// HF LlamaRMSNorm. x [..., E], weight [E] -> [..., E].
// Errors: ErrorKind::Unsupported when backend is Cuda and why_unsupported says so;
// ErrorKind::Device on a failed launch.
at::Tensor rms_norm(const at::Tensor& x,
                    const at::Tensor& weight,
                    double eps,
                    Backend backend = Backend::Auto);

// silu(gate) * up, both of one shape.
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up, Backend backend = Backend::Auto);

namespace reference {
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);
}  // namespace reference

}  // namespace vmla::kernels
