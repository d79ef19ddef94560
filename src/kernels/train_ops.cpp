#include "kernels/train_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/device.h"
#include "kernels/launch.h"
#include "kernels/train_device.h"

namespace vmla::kernels {
namespace {

namespace autograd = torch::autograd;

bool records(const at::Tensor& x, const at::Tensor& other) {
  return at::GradMode::is_enabled() && (x.requires_grad() || other.requires_grad());
}

std::optional<std::string> why_no_rotation(const at::Tensor& x, const at::Tensor& cos) {
  if (auto why = why_not_half(x)) return why;
  if (x.dim() != 4 || cos.dim() != 4 || cos.scalar_type() != x.scalar_type())
    return "expected [B, S, H, R] and angles of x's dtype";
  if (x.numel() == 0 || x.size(3) % 16 != 0) return "expected R in steps of 16";
  const bool fits = (cos.size(0) == 1 || cos.size(0) == x.size(0)) && cos.size(1) == x.size(1) &&
                    (cos.size(2) == 1 || cos.size(2) == x.size(2)) && cos.size(3) == x.size(3);
  if (!fits) return "expected angles [B or 1, S, H or 1, R]";
  return std::nullopt;
}

// As [tokens, H, R] with heads packed in words of 16 bytes; a slice of wider rows will do.
at::Tensor packed_tokens(const at::Tensor& x) {
  const bool packed = x.stride(3) == 1 && x.stride(2) == x.size(3) && x.stride(1) % 8 == 0 &&
                      (x.size(0) == 1 || x.stride(0) == x.size(1) * x.stride(1)) &&
                      reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0;
  return packed ? x : x.contiguous();
}

at::Tensor launch_rotation(const at::Tensor& x,
                           const at::Tensor& cos,
                           const at::Tensor& sin,
                           bool transposed) {
  const at::Tensor in = packed_tokens(x), c = cos.contiguous(), s = sin.contiguous();
  at::Tensor out = at::empty(x.sizes(), x.options());
  check_launch("rotate_pairs",
               launch_rotate({in.const_data_ptr(),
                              c.const_data_ptr(),
                              s.const_data_ptr(),
                              out.mutable_data_ptr(),
                              in.stride(1),
                              x.size(0) * x.size(1),
                              c.size(0) * c.size(1),
                              static_cast<int>(x.size(2)),
                              static_cast<int>(c.size(2)),
                              static_cast<int>(x.size(3)),
                              transposed,
                              scalar_of(x)},
                             current_stream()));
  return out;
}

struct Rotation : autograd::Function<Rotation> {
  static at::Tensor forward(autograd::AutogradContext* context,
                            const at::Tensor& x,
                            const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return launch_rotation(x, cos, sin, /*transposed=*/false);
  }
  static autograd::variable_list backward(autograd::AutogradContext* context,
                                          const autograd::variable_list& gradient) {
    const auto saved = context->get_saved_variables();
    return {rotate_pairs_backward(gradient.at(0), saved.at(0), saved.at(1)),
            at::Tensor(),
            at::Tensor()};
  }
};

struct SiluMul : autograd::Function<SiluMul> {
  static at::Tensor forward(autograd::AutogradContext* context,
                            const at::Tensor& gate,
                            const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return silu_mul(gate, up);
  }
  static autograd::variable_list backward(autograd::AutogradContext* context,
                                          const autograd::variable_list& gradient) {
    const auto saved = context->get_saved_variables();
    auto [to_gate, to_up] = silu_mul_backward(gradient.at(0), saved.at(0), saved.at(1));
    return {to_gate, to_up};
  }
};

at::Tensor rotated_half(const at::Tensor& x) {
  const std::int64_t half = x.size(-1) / 2;
  return at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
}

}  // namespace

at::Tensor trained_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (x.is_cuda() && records(x, weight)) return at::rms_norm(x, {x.size(-1)}, weight, eps);
  return rms_norm(x, weight, eps);
}

at::Tensor trained_silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  if (records(gate, up) && !why_not_half(gate)) return SiluMul::apply(gate, up);
  return silu_mul(gate, up);
}

at::Tensor rotate_pairs(const at::Tensor& x,
                        const at::Tensor& cos,
                        const at::Tensor& sin,
                        Backend backend) {
  if (!choose_cuda(backend, "rotate_pairs", why_no_rotation(x, cos)))
    return reference::rotate_pairs(x, cos, sin);
  return records(x, x) ? Rotation::apply(x, cos, sin) : launch_rotation(x, cos, sin, false);
}

at::Tensor rotate_pairs_backward(const at::Tensor& gradient,
                                 const at::Tensor& cos,
                                 const at::Tensor& sin,
                                 Backend backend) {
  if (!choose_cuda(backend, "rotate_pairs_backward", why_no_rotation(gradient, cos)))
    return reference::rotate_pairs_backward(gradient, cos, sin);
  return launch_rotation(gradient, cos, sin, /*transposed=*/true);
}

std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& gradient,
                                                    const at::Tensor& gate,
                                                    const at::Tensor& up,
                                                    Backend backend) {
  auto why = why_not_half(gate);
  if (!why && (gate.numel() == 0 || gate.numel() % 8 != 0)) why = "expected a multiple of 8";
  if (!choose_cuda(backend, "silu_mul_backward", why))
    return reference::silu_mul_backward(gradient, gate, up);
  const at::Tensor g = gradient.contiguous(), a = gate.contiguous(), b = up.contiguous();
  at::Tensor to_gate = at::empty(gate.sizes(), gate.options());
  at::Tensor to_up = at::empty(gate.sizes(), gate.options());
  check_launch("silu_mul_backward",
               launch_silu_mul_backward({g.const_data_ptr(),
                                         a.const_data_ptr(),
                                         b.const_data_ptr(),
                                         to_gate.mutable_data_ptr(),
                                         to_up.mutable_data_ptr(),
                                         gate.numel() / 8,
                                         scalar_of(gate)},
                                        current_stream()));
  return {to_gate, to_up};
}

namespace reference {

at::Tensor rotate_pairs(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return x * cos + rotated_half(x) * sin;
}

// rotate_half's transpose is its negative.
at::Tensor rotate_pairs_backward(const at::Tensor& gradient,
                                 const at::Tensor& cos,
                                 const at::Tensor& sin) {
  return gradient * cos - rotated_half(gradient * sin);
}

std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& gradient,
                                                    const at::Tensor& gate,
                                                    const at::Tensor& up) {
  return {at::silu_backward(gradient * up, gate), gradient * at::silu(gate)};
}

}  // namespace reference

}  // namespace vmla::kernels
