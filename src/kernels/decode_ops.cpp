#include "kernels/decode_ops.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "kernels/device.h"
#include "kernels/launch.h"

namespace vmla::kernels {
namespace {

constexpr std::int64_t kGemvRows = 4;

// nullopt, or why a kernel of 16-bit numbers cannot take x.
std::optional<std::string> why_not_half(const at::Tensor& x) {
  if (auto why = why_unsupported(x)) return why;
  if (x.scalar_type() == at::kFloat) return "expected float16 or bfloat16, got float32";
  return std::nullopt;
}

std::optional<std::string> as_text(const char* why) {
  return why == nullptr ? std::nullopt : std::optional<std::string>(why);
}

std::optional<std::string> why_no_gemv(const at::Tensor& x, const at::Tensor& weight) {
  if (auto why = why_not_half(x)) return why;
  if (x.size(0) > kGemvRows) return "expected at most 4 rows, got " + std::to_string(x.size(0));
  if (weight.size(-1) % 8 != 0) return std::string("expected a width in steps of 8");
  if (!weight.is_contiguous()) return std::string("expected a contiguous weight");
  return std::nullopt;
}

int narrow(std::int64_t value) {
  return static_cast<int>(value);
}

// x [B, H, N] or [B, E] with packed heads; a slice of a wider row will do.
at::Tensor packed_rows(const at::Tensor& x) {
  bool packed = x.stride(-1) == 1;
  if (x.dim() == 3) packed = packed && x.stride(1) == x.size(2);
  return packed && x.stride(0) % 8 == 0 ? x : x.contiguous();
}

void check_span(const char* op, const DecodeSpan& span, std::int64_t batch) {
  check(span.first.scalar_type() == at::kInt && span.first.numel() == batch &&
            span.count.scalar_type() == at::kInt && span.count.numel() == 1,
        ErrorKind::Internal,
        "{}: expected int32 first [{}] and count [1], got {} and {} elements",
        op,
        batch,
        span.first.numel(),
        span.count.numel());
}

struct Splits {
  SplitParams params;
  at::Tensor partial, maximum, sum;  // keep the memory of params alive
};

Splits make_splits(const DecodeSpan& span,
                   const at::Tensor& like,
                   std::int64_t heads,
                   std::int64_t width,
                   std::int64_t splits,
                   double scale) {
  Splits out;
  const auto options = like.options().dtype(at::kFloat);
  const std::int64_t batch = like.size(0);
  out.partial = at::empty({batch, splits, heads, width}, options);
  out.maximum = at::empty({batch, splits, heads}, options);
  out.sum = at::empty({batch, splits, heads}, options);
  out.params = {span.first.const_data_ptr<int>(),
                span.count.const_data_ptr<int>(),
                out.partial.mutable_data_ptr<float>(),
                out.maximum.mutable_data_ptr<float>(),
                out.sum.mutable_data_ptr<float>(),
                narrow(splits),
                static_cast<float>(scale)};
  return out;
}

at::Tensor merge(const char* op, const Splits& splits, const at::Tensor& like) {
  const std::int64_t heads = splits.partial.size(2), width = splits.partial.size(3);
  at::Tensor out = at::empty({like.size(0), heads, width}, like.options());
  check_launch(op,
               launch_merge_splits({splits.params,
                                    out.mutable_data_ptr(),
                                    narrow(like.size(0)),
                                    narrow(heads),
                                    narrow(width),
                                    scalar_of(like)},
                                   current_stream()));
  return out;
}

at::Tensor gemv(const at::Tensor& x,
                const at::Tensor& weight,
                const at::Tensor& bias,
                const at::Tensor& residual,
                std::int64_t rows,
                bool gated) {
  const at::Tensor in = packed_rows(x);
  const bool by_head = in.dim() == 3;
  const std::int64_t heads = by_head ? in.size(1) : 1, batch = in.size(0);
  const std::int64_t rows_per_head = by_head ? rows : rows / heads;
  const std::int64_t all_rows = by_head ? rows * heads : rows;
  const std::int64_t group = by_head ? heads / weight.size(0) : 1;
  at::Tensor out = by_head ? at::empty({batch, heads, rows}, x.options())
                           : at::empty({batch, rows}, x.options());
  const at::Tensor added = residual.defined() ? residual.contiguous() : residual;
  check_launch("linear",
               launch_gemv({in.const_data_ptr(),
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
                            scalar_of(x)},
                           current_stream()));
  return out;
}

}  // namespace

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
  if (choose_cuda(backend, "gated_linear", why_no_gemv(x, gate_up)))
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
  return at::bmm(x.transpose(0, 1), weight.transpose(1, 2)).transpose(0, 1);
}

at::Tensor heads_linear_transposed(const at::Tensor& x, const at::Tensor& weight, Backend backend) {
  const std::int64_t heads = x.size(1);
  if (choose_cuda(backend, "heads_linear_transposed", why_no_gemv(x, weight))) {
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
  return at::bmm(x.transpose(0, 1), weight).transpose(0, 1);
}

void rope_append(const RopeAppend& op, const DecodeSpan& span, Backend backend) {
  const std::int64_t batch = op.projected.size(0), kv_heads = op.k_rope.size(2),
                     rope = op.k_rope.size(3);
  const auto width_of = [](const at::Tensor& plane) {
    return plane.defined() ? plane.numel() / (plane.size(0) * plane.size(1)) : std::int64_t{0};
  };
  const std::int64_t width_1 = width_of(op.plane_1), width_2 = width_of(op.plane_2);
  check_span("rope_append", span, batch);
  check(
      op.projected.size(1) == op.heads * (rope + op.nope_dim) + kv_heads * rope + width_1 + width_2,
      ErrorKind::Internal,
      "rope_append: expected rows of {} numbers, got {}",
      op.heads * (rope + op.nope_dim) + kv_heads * rope + width_1 + width_2,
      op.projected.size(1));
  if (!choose_cuda(backend, "rope_append", why_unsupported(op.projected))) {
    reference::rope_append(op, span);
    return;
  }
  const at::Tensor dims = op.rope_dims.defined() ? op.rope_dims.contiguous() : op.rope_dims;
  const at::Tensor cos = op.cos.contiguous(), sin = op.sin.contiguous();
  check_launch("rope_append",
               launch_rope_append({op.projected.mutable_data_ptr(),
                                   cos.const_data_ptr(),
                                   sin.const_data_ptr(),
                                   dims.defined() ? dims.const_data_ptr<std::int64_t>() : nullptr,
                                   op.k_rope.mutable_data_ptr(),
                                   op.plane_1.mutable_data_ptr(),
                                   op.plane_2.defined() ? op.plane_2.mutable_data_ptr() : nullptr,
                                   span.count.const_data_ptr<int>(),
                                   op.projected.stride(0),
                                   op.k_rope.stride(0),
                                   op.plane_1.stride(0),
                                   op.plane_2.defined() ? op.plane_2.stride(0) : 0,
                                   narrow(batch),
                                   narrow(op.heads),
                                   narrow(kv_heads),
                                   narrow(rope),
                                   narrow(op.nope_dim),
                                   narrow(op.cos.size(1)),
                                   narrow(width_1),
                                   narrow(width_2),
                                   scalar_of(op.projected)},
                                  current_stream()));
}

at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const at::Tensor& k_rope,
                      const at::Tensor& latent,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend) {
  const std::int64_t batch = q_latent.size(0), heads = q_latent.size(1), width = q_latent.size(2),
                     kv_heads = k_rope.size(2), rope = k_rope.size(3);
  check_span("mla_decode", span, batch);
  auto why = why_not_half(q_latent);
  if (!why) why = why_no_mla_kernel(heads, kv_heads, rope, width);
  if (!choose_cuda(backend, "mla_decode", why))
    return reference::mla_decode(q_rope, q_latent, k_rope, latent, span, scale);
  const at::Tensor q_1 = packed_rows(q_rope), q_2 = q_latent.contiguous();
  const std::int64_t blocks = batch * ((heads + 31) / 32);
  const std::int64_t count =
      plan_splits(span.max_count, blocks, multiprocessors(), /*overhead=*/48, /*least=*/32);
  const Splits splits = make_splits(span, q_latent, heads, width, count, scale);
  check_launch("mla_decode",
               launch_mla_decode({splits.params,
                                  q_1.const_data_ptr(),
                                  q_2.const_data_ptr(),
                                  k_rope.const_data_ptr(),
                                  latent.const_data_ptr(),
                                  q_1.stride(0),
                                  k_rope.stride(0),
                                  latent.stride(0),
                                  narrow(batch),
                                  narrow(heads),
                                  narrow(kv_heads),
                                  narrow(rope),
                                  narrow(width),
                                  scalar_of(q_latent)},
                                 current_stream()));
  return merge("mla_decode", splits, q_latent);
}

at::Tensor mha_decode(const at::Tensor& q,
                      const at::Tensor& k,
                      const at::Tensor& v,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend) {
  const std::int64_t batch = q.size(0), heads = q.size(1), dim = q.size(2), kv_heads = k.size(2);
  check_span("mha_decode", span, batch);
  auto why = why_not_half(q);
  if (!why) why = why_no_mha_kernel(dim);
  if (!choose_cuda(backend, "mha_decode", why)) return reference::mha_decode(q, k, v, span, scale);
  const at::Tensor in = packed_rows(q);
  // Eight small blocks fit one processor; a split has work for 64 tokens at a time.
  const std::int64_t count = plan_splits(
      span.max_count, batch * kv_heads, multiprocessors() * 8, /*overhead=*/32, /*least=*/64);
  const Splits splits = make_splits(span, q, heads, dim, count, scale);
  check_launch("mha_decode",
               launch_mha_decode({splits.params,
                                  in.const_data_ptr(),
                                  k.const_data_ptr(),
                                  v.const_data_ptr(),
                                  in.stride(0),
                                  k.stride(0),
                                  v.stride(0),
                                  narrow(batch),
                                  narrow(heads),
                                  narrow(kv_heads),
                                  narrow(dim),
                                  scalar_of(q)},
                                 current_stream()));
  return merge("mha_decode", splits, q);
}

std::optional<std::string> why_no_mla_kernel(std::int64_t heads,
                                             std::int64_t kv_heads,
                                             std::int64_t rope_dim,
                                             std::int64_t latent_dim) {
  return as_text(
      why_no_mla_decode(narrow(heads), narrow(kv_heads), narrow(rope_dim), narrow(latent_dim)));
}

std::optional<std::string> why_no_mha_kernel(std::int64_t head_dim) {
  return as_text(why_no_mha_decode(narrow(head_dim)));
}

std::int64_t plan_splits(std::int64_t tokens,
                         std::int64_t blocks_per_split,
                         std::int64_t processors,
                         std::int64_t overhead,
                         std::int64_t least_tokens) {
  const std::int64_t most = std::clamp<std::int64_t>(tokens / least_tokens, 1, 128);
  std::int64_t best = 1, best_cost = 0;
  for (std::int64_t splits = 1; splits <= most; ++splits) {
    const std::int64_t waves = (blocks_per_split * splits + processors - 1) / processors;
    const std::int64_t cost = waves * ((tokens + splits - 1) / splits + overhead);
    if (splits == 1 || cost < best_cost) {
      best = splits;
      best_cost = cost;
    }
  }
  return best;
}

}  // namespace vmla::kernels
