// What the torch-facing halves of all kernels share. For kernels/*.cpp only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/api.h"
#include "kernels/params.h"

namespace vmla::kernels {

Scalar scalar_of(const at::Tensor& x);

// Whether the kernel is to run, given why it cannot (nullopt: it can).
// Errors: ErrorKind::Unsupported when backend is Cuda and it cannot.
bool choose_cuda(Backend backend, const char* op, const std::optional<std::string>& why);

// nullopt, or why a kernel of 16-bit numbers cannot take x.
std::optional<std::string> why_not_half(const at::Tensor& x);

// nullopt, or why launch_heads_gemv cannot take x [B, H, N] and weight [K, N, C].
std::optional<std::string> why_no_heads_gemv(const at::Tensor& x, const at::Tensor& weight);

// x [B, H, N] or [B, E] with packed heads; a slice of a wider row will do.
at::Tensor packed_rows(const at::Tensor& x);

inline int narrow(std::int64_t value) {
  return static_cast<int>(value);
}

// Errors: ErrorKind::Device with CUDA's text.
void check_launch(const char* op, const char* error);

}  // namespace vmla::kernels
