#include "kernels/api.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/device.h"
#include "kernels/launch.h"

namespace vmla::kernels {
namespace {

bool use_cuda(Backend backend, const char* op, const at::Tensor& x, const at::Tensor& other) {
  const bool records = at::GradMode::is_enabled() && (x.requires_grad() || other.requires_grad());
  auto why = why_unsupported(x);
  if (!why && records) why = "the CUDA kernel records no gradient";
  return choose_cuda(backend, op, why);
}

}  // namespace

Scalar scalar_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kHalf:
      return Scalar::Float16;
    case at::kBFloat16:
      return Scalar::BFloat16;
    default:
      return Scalar::Float32;
  }
}

bool choose_cuda(Backend backend, const char* op, const std::optional<std::string>& why) {
  if (backend == Backend::Reference) return false;
  check(backend == Backend::Auto || !why, ErrorKind::Unsupported, "{}: {}", op, why.value_or(""));
  return !why;
}

void check_launch(const char* op, const char* error) {
  check(error == nullptr,
        ErrorKind::Device,
        "{}: launch failed: {}",
        op,
        error == nullptr ? "" : error);
}

std::optional<std::string> why_unsupported(const at::Tensor& x) {
  if (!built_with_cuda()) return "this build has no CUDA kernels";
  if (!x.is_cuda()) return "expected a CUDA tensor, got one on " + x.device().str();
  if (x.scalar_type() != at::kFloat && x.scalar_type() != at::kHalf &&
      x.scalar_type() != at::kBFloat16) {
    return std::string("expected float32, float16 or bfloat16, got ") +
           c10::toString(x.scalar_type());
  }
  return std::nullopt;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, Backend backend) {
  check(
      weight.dim() == 1 && weight.size(0) == x.size(-1) && weight.scalar_type() == x.scalar_type(),
      ErrorKind::Internal,
      "rms_norm: expected a weight [{}] of x's dtype, got [{}]",
      x.size(-1),
      fmt::join(weight.sizes(), ", "));
  if (!use_cuda(backend, "rms_norm", x, weight)) return reference::rms_norm(x, weight, eps);
  const at::Tensor rows = x.contiguous();
  at::Tensor out = at::empty_like(rows);
  if (rows.numel() == 0) return out;
  const at::Tensor scale = weight.contiguous();
  check_launch("rms_norm",
               launch_rms_norm({rows.const_data_ptr(),
                                scale.const_data_ptr(),
                                out.data_ptr(),
                                rows.numel() / rows.size(-1),
                                rows.size(-1),
                                static_cast<float>(eps),
                                scalar_of(rows)},
                               current_stream()));
  return out;
}

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up, Backend backend) {
  check(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(),
        ErrorKind::Internal,
        "silu_mul: expected two tensors of one shape and dtype, got [{}] and [{}]",
        fmt::join(gate.sizes(), ", "),
        fmt::join(up.sizes(), ", "));
  if (!use_cuda(backend, "silu_mul", gate, up)) return reference::silu_mul(gate, up);
  at::Tensor out = at::empty(gate.sizes(), gate.options());
  if (out.numel() == 0) return out;
  // Two halves of one projection are read where they lie.
  const bool halves = gate.dim() == 2 && gate.strides() == up.strides() && gate.stride(1) == 1;
  const at::Tensor g = halves ? gate : gate.contiguous(), u = halves ? up : up.contiguous();
  const std::int64_t width = halves ? g.size(1) : g.numel();
  check_launch("silu_mul",
               launch_silu_mul({g.const_data_ptr(),
                                u.const_data_ptr(),
                                out.data_ptr(),
                                g.numel() / width,
                                width,
                                halves ? g.stride(0) : width,
                                scalar_of(g)},
                               current_stream()));
  return out;
}

}  // namespace vmla::kernels
