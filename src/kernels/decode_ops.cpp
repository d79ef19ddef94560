#include "kernels/decode_ops.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/device.h"
#include "kernels/launch.h"

namespace vmla::kernels {
namespace {

// Rows up to which each kernel takes x: beyond, the library's GEMM is faster, or as fast for the
// weights of heads.
constexpr std::int64_t kGemvRows = 4, kSkinnyRows = 16, kHeadRows = 32;

// x [B, …, E] against a weight [rows a head…, E].
bool takes_skinny(const at::Tensor& x, const at::Tensor& weight) {
  return x.size(0) > 1 && x.size(0) <= (x.dim() == 3 ? kHeadRows : kSkinnyRows) &&
         why_no_skinny(narrow(x.size(0)),
                       narrow(weight.size(weight.dim() - 2)),
                       narrow(weight.size(-1))) == nullptr;
}

std::optional<std::string> why_no_gemv(const at::Tensor& x, const at::Tensor& weight) {
  if (auto why = why_not_half(x)) return why;
  if (weight.size(-1) % 8 != 0) return std::string("expected a width in steps of 8");
  if (!weight.is_contiguous()) return std::string("expected a contiguous weight");
  if (x.size(0) > kGemvRows && !takes_skinny(x, weight))
    return "expected at most 4 rows, or 16 (32 by head) of a shape in steps of 32, got " +
           std::to_string(x.size(0));
  return std::nullopt;
}

at::Tensor gemv(const at::Tensor& x,
                const at::Tensor& weight,
                const at::Tensor& bias,
                const at::Tensor& residual,
                std::int64_t rows,
                bool gated) {
  const at::Tensor in = packed_rows(x);
  const bool heads_apart = in.dim() == 3;
  const std::int64_t heads = heads_apart ? in.size(1) : 1, batch = in.size(0);
  const std::int64_t rows_per_head = heads_apart ? rows : rows / heads;
  const std::int64_t all_rows = heads_apart ? rows * heads : rows;
  const std::int64_t group = heads_apart ? heads / weight.size(0) : 1;
  at::Tensor out = heads_apart ? at::empty({batch, heads, rows}, x.options())
                               : at::empty({batch, rows}, x.options());
  const at::Tensor added = residual.defined() ? residual.contiguous() : residual;
  const GemvParams params{in.const_data_ptr(),
                          weight.const_data_ptr(),
                          bias.defined() ? bias.const_data_ptr() : nullptr,
                          added.defined() ? added.const_data_ptr() : nullptr,
                          out.mutable_data_ptr(),
                          in.stride(0),
                          narrow(batch),
                          narrow(all_rows),
                          narrow(weight.size(-1)),
                          narrow(heads),
                          narrow(rows_per_head),
                          narrow(group),
                          gated,
                          scalar_of(x)};
  check_launch("linear",
               takes_skinny(x, gated ? weight.slice(0, 0, rows) : weight)
                   ? launch_skinny(params, current_stream())
                   : launch_gemv(params, current_stream()));
  return out;
}

// x [B, H, E] times a matrix a head [H, E, F] -> [B, H, F], written where it belongs: neither side
// is transposed in memory.
at::Tensor by_head(const at::Tensor& x, const at::Tensor& weight) {
  at::Tensor out = at::empty({x.size(0), x.size(1), weight.size(2)}, x.options());
  at::Tensor heads_first = out.transpose(0, 1);
  at::bmm_out(heads_first, x.transpose(0, 1), weight);
  return out;
}

}  // namespace

std::optional<std::string> why_not_half(const at::Tensor& x) {
  if (auto why = why_unsupported(x)) return why;
  if (x.scalar_type() == at::kFloat) return "expected float16 or bfloat16, got float32";
  return std::nullopt;
}

std::optional<std::string> why_no_heads_gemv(const at::Tensor& x, const at::Tensor& weight) {
  if (auto why = why_not_half(x)) return why;
  if (weight.size(1) % 2 != 0 || weight.size(2) % 8 != 0)
    return std::string("expected an even inner width and columns in steps of 8");
  if (!weight.is_contiguous()) return std::string("expected a contiguous weight");
  if (x.size(0) > kHeadRows) return "expected at most 32 rows, got " + std::to_string(x.size(0));
  return std::nullopt;
}

at::Tensor packed_rows(const at::Tensor& x) {
  bool packed = x.stride(-1) == 1;
  if (x.dim() == 3) packed = packed && x.stride(1) == x.size(2);
  return packed && x.stride(0) % 8 == 0 ? x : x.contiguous();
}

at::Tensor linear(const at::Tensor& x,
                  const at::Tensor& weight,
                  const at::Tensor& bias,
                  const at::Tensor& residual,
                  Backend backend) {
  if (choose_cuda(backend, "linear", why_no_gemv(x, weight)))
    return gemv(x, weight, bias, residual, weight.size(0), false);
  if (backend != Backend::Reference && x.is_cuda() && residual.defined() && !bias.defined())
    return at::addmm(residual, x, weight.t());
  return reference::linear(x, weight, bias, residual);
}

at::Tensor gated_linear(const at::Tensor& x, const at::Tensor& gate_up, Backend backend) {
  const std::int64_t width = gate_up.size(0) / 2;
  if (choose_cuda(backend, "gated_linear", why_no_gemv(x, gate_up.slice(0, 0, width))))
    return gemv(x, gate_up, {}, {}, width, true);
  if (backend == Backend::Reference || !x.is_cuda()) return reference::gated_linear(x, gate_up);
  const at::Tensor both = at::linear(x, gate_up);
  return silu_mul(both.slice(-1, 0, width), both.slice(-1, width), backend);
}

at::Tensor heads_linear(const at::Tensor& x, const at::Tensor& weight, Backend backend) {
  if (choose_cuda(backend, "heads_linear", why_no_gemv(x, weight)))
    return gemv(x, weight, {}, {}, weight.size(1), false);
  const std::int64_t heads = x.size(1);
  if (backend == Backend::Reference || !x.is_cuda() || heads != weight.size(0))
    return reference::heads_linear(x, weight);
  return by_head(x, weight.transpose(1, 2));
}

at::Tensor heads_linear_transposed(const at::Tensor& x, const at::Tensor& weight, Backend backend) {
  const std::int64_t heads = x.size(1);
  if (choose_cuda(backend, "heads_linear_transposed", why_no_heads_gemv(x, weight))) {
    const at::Tensor in = packed_rows(x);
    at::Tensor out = at::empty({x.size(0), heads, weight.size(2)}, x.options());
    check_launch("heads_linear_transposed",
                 launch_heads_gemv({in.const_data_ptr(),
                                    weight.const_data_ptr(),
                                    out.mutable_data_ptr(),
                                    in.stride(0),
                                    narrow(x.size(0)),
                                    narrow(heads),
                                    narrow(x.size(2)),
                                    narrow(weight.size(2)),
                                    narrow(heads / weight.size(0)),
                                    scalar_of(x)},
                                   current_stream()));
    return out;
  }
  if (backend == Backend::Reference || !x.is_cuda() || heads != weight.size(0))
    return reference::heads_linear_transposed(x, weight);
  return by_head(x, weight);
}

}  // namespace vmla::kernels
