// The torch-facing half of what touches the cache in a decode step: appending and attention.
#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "base/error.h"
#include "kernels/append_query.h"
#include "kernels/decode_ops.h"
#include "kernels/device.h"
#include "kernels/latent_values.h"
#include "kernels/launch.h"

namespace vmla::kernels {
namespace {

std::optional<std::string> as_text(const char* why) {
  return why == nullptr ? std::nullopt : std::optional<std::string>(why);
}

void check_span(const char* op, const DecodeSpan& span, std::int64_t batch, const Plane& plane) {
  check(span.first.scalar_type() == at::kInt && span.first.numel() == batch &&
            span.count.scalar_type() == at::kInt && span.count.numel() == 1,
        ErrorKind::Internal,
        "{}: expected int32 first [{}] and count [1], got {} and {} elements",
        op,
        batch,
        span.first.numel(),
        span.count.numel());
  if (!span.block_table.defined()) return;
  const std::int64_t block = plane.payload.size(1);
  check(span.block_table.scalar_type() == at::kInt && span.block_table.dim() == 2 &&
            span.block_table.size(0) == batch && span.block_table.is_contiguous(),
        ErrorKind::Internal,
        "{}: expected a block table int32 [{}, blocks]",
        op,
        batch);
  check(block >= 16 && std::has_single_bit(static_cast<std::uint64_t>(block)),
        ErrorKind::Internal,
        "{}: expected blocks of a power of two of at least 16 tokens, got {}",
        op,
        block);
}

void check_plane(const char* op, const Plane& plane, const Plane& other) {
  check(plane.payload.size(0) == other.payload.size(0) &&
            plane.payload.size(1) == other.payload.size(1) && plane.payload.is_contiguous() &&
            (plane.codec == Codec::None) != plane.scales.defined() &&
            (!plane.scales.defined() || plane.scales.is_contiguous()),
        ErrorKind::Internal,
        "{}: expected contiguous planes of [{}, {}, …], with scales where they are quantised",
        op,
        other.payload.size(0),
        other.payload.size(1));
}

// nullopt, or why the kernels cannot copy this plane's bytes. They read scales two at a time.
std::optional<std::string> why_no_plane(const Plane& plane) {
  if (reinterpret_cast<std::uintptr_t>(plane.payload.const_data_ptr()) % 16 != 0)
    return std::string("expected planes that begin at a multiple of 16 bytes");
  if (plane.scales.defined() && plane.scales.numel() % 2 != 0)
    return std::string("expected an even number of scales in a plane");
  if (plane.payload.size(0) * plane.payload.size(1) > std::numeric_limits<int>::max())
    return std::string("expected a cache of fewer than 2^31 tokens");
  return std::nullopt;
}

// The pointers are read-only in the attention kernels, which take the same struct.
PlaneParams params_of(const Plane& plane) {
  if (!plane.defined()) return {};
  return {const_cast<void*>(plane.payload.const_data_ptr()),
          plane.scales.defined() ? const_cast<void*>(plane.scales.const_data_ptr()) : nullptr,
          plane.codec,
          narrow(plane.width()),
          narrow(plane.group)};
}

PageParams pages_of(const DecodeSpan& span, const Plane& plane) {
  const std::int64_t tokens = plane.payload.size(1);
  if (!span.block_table.defined()) return {nullptr, 0, 0, narrow(tokens)};
  return {span.block_table.const_data_ptr<int>(),
          narrow(span.block_table.size(1)),
          std::countr_zero(static_cast<std::uint64_t>(tokens)),
          0};
}

void check_append(const RopeAppend& op, const DecodeSpan& span) {
  check_span("rope_append", span, op.projected.size(0), op.k_rope);
  for (const Plane* plane : {&op.k_rope, &op.plane_1, &op.plane_2}) {
    if (plane->defined()) check_plane("rope_append", *plane, op.k_rope);
  }
  const std::int64_t width = op.heads * (op.k_rope.dim + op.nope_dim) + op.k_rope.width() +
                             op.plane_1.width() + op.plane_2.width();
  check(op.projected.size(1) == width,
        ErrorKind::Internal,
        "rope_append: expected rows of {} numbers, got {}",
        width,
        op.projected.size(1));
}

struct AppendInputs {
  RopeAppendParams params;
  at::Tensor dims, cos, sin;  // keep the memory of params alive
};

AppendInputs append_inputs(const RopeAppend& op, const DecodeSpan& span) {
  AppendInputs in;
  in.dims = op.rope_dims.defined() ? op.rope_dims.contiguous() : op.rope_dims;
  in.cos = op.cos.contiguous();
  in.sin = op.sin.contiguous();
  in.params = {op.projected.mutable_data_ptr(),
               in.cos.const_data_ptr(),
               in.sin.const_data_ptr(),
               in.dims.defined() ? in.dims.const_data_ptr<std::int64_t>() : nullptr,
               params_of(op.k_rope),
               params_of(op.plane_1),
               params_of(op.plane_2),
               pages_of(span, op.k_rope),
               span.count.const_data_ptr<int>(),
               op.projected.stride(0),
               narrow(op.projected.size(0)),
               narrow(op.heads),
               narrow(op.k_rope.heads),
               narrow(op.k_rope.dim),
               narrow(op.nope_dim),
               narrow(op.cos.size(1)),
               scalar_of(op.projected)};
  return in;
}

struct Splits {
  SplitParams params;
  Partials partials;
  at::Tensor partial, maximum, sum;  // keep the memory of params alive
};

Splits make_splits(const DecodeSpan& span,
                   const at::Tensor& like,
                   std::int64_t heads,
                   std::int64_t width,
                   std::int64_t splits,
                   double scale,
                   Partials partials) {
  Splits out;
  out.partials = partials;
  const auto options = like.options().dtype(at::kFloat);
  const std::int64_t batch = like.size(0);
  out.partial = at::empty({batch, splits, heads, width},
                          partials == Partials::Sums ? options : like.options());
  out.maximum = at::empty({batch, splits, heads}, options);
  out.sum = at::empty({batch, splits, heads}, options);
  out.params = {span.first.const_data_ptr<int>(),
                span.count.const_data_ptr<int>(),
                static_cast<float*>(out.partial.mutable_data_ptr()),
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
                                   splits.partials,
                                   current_stream()));
  return out;
}

// nullopt, or why the kernel cannot take it.
std::optional<std::string> why_no_mla(const at::Tensor& q_latent,
                                      const Plane& k_rope,
                                      const Plane& latent,
                                      const DecodeSpan& span) {
  check_span("mla_decode", span, q_latent.size(0), k_rope);
  check_plane("mla_decode", k_rope, k_rope);
  check_plane("mla_decode", latent, k_rope);
  auto why = why_not_half(q_latent);
  if (!why)
    why = as_text(why_no_mla_decode(narrow(q_latent.size(1)),
                                    narrow(k_rope.heads),
                                    narrow(k_rope.dim),
                                    narrow(q_latent.size(2)),
                                    k_rope.codec,
                                    latent.codec,
                                    span.block_table.defined()));
  if (!why) why = why_no_plane(k_rope);
  if (!why) why = why_no_plane(latent);
  return why;
}

Splits launch_mla(const at::Tensor& q_rope,
                  const at::Tensor& q_latent,
                  const Plane& k_rope,
                  const Plane& latent,
                  const DecodeSpan& span,
                  double scale) {
  const std::int64_t batch = q_latent.size(0), heads = q_latent.size(1), width = q_latent.size(2);
  const auto whole_words = [](const at::Tensor& x) {
    return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0 ? x : x.clone();
  };
  const at::Tensor q_1 = whole_words(packed_rows(q_rope)), q_2 = whole_words(q_latent.contiguous());
  const std::int64_t rows = heads > 16 && width <= 1024 ? 32 : 16;  // heads of a block
  const std::int64_t blocks = batch * ((heads + rows - 1) / rows);
  const std::int64_t count =
      plan_splits(span.max_count, blocks, multiprocessors(), /*overhead=*/48, /*least=*/32);
  const Splits splits = make_splits(span, q_latent, heads, width, count, scale, Partials::Rows);
  check_launch("mla_decode",
               launch_mla_decode({splits.params,
                                  pages_of(span, k_rope),
                                  params_of(k_rope),
                                  params_of(latent),
                                  q_1.const_data_ptr(),
                                  q_2.const_data_ptr(),
                                  q_1.stride(0),
                                  narrow(batch),
                                  narrow(heads),
                                  narrow(k_rope.heads),
                                  narrow(k_rope.dim),
                                  narrow(width),
                                  scalar_of(q_latent)},
                                 current_stream()));
  return splits;
}

}  // namespace

Plane::Plane(const at::Tensor& plain)
    : payload(plain),
      heads(plain.defined() && plain.dim() == 4 ? plain.size(2) : 1),
      dim(plain.defined() ? plain.size(-1) : 0) {}

void rope_append(const RopeAppend& op, const DecodeSpan& span, Backend backend) {
  check_append(op, span);
  if (!choose_cuda(backend, "rope_append", why_unsupported(op.projected))) {
    reference::rope_append(op, span);
    return;
  }
  const AppendInputs in = append_inputs(op, span);
  check_launch("rope_append", launch_rope_append(in.params, current_stream()));
}

at::Tensor rope_append_query(const RopeAppend& op,
                             const DecodeSpan& span,
                             const at::Tensor& up_k,
                             Backend backend) {
  check_append(op, span);
  const std::int64_t batch = op.projected.size(0), n = op.nope_dim;
  const at::Tensor q =
      op.projected.narrow(1, op.heads * op.k_rope.dim, op.heads * n).view({batch, op.heads, n});
  constexpr std::int64_t kMostRows = 16;
  const auto is_plain = [](const Plane& plane) { return plane.codec == Codec::None; };
  const bool together = batch <= kMostRows && is_plain(op.k_rope) && is_plain(op.plane_1) &&
                        is_plain(op.plane_2) && op.projected.stride(0) % 8 == 0 &&
                        !why_no_heads_gemv(q, up_k);
  if (!together || !choose_cuda(backend, "rope_append_query", why_not_half(op.projected))) {
    rope_append(op, span, backend);
    return heads_linear_transposed(q, up_k, backend);
  }
  const AppendInputs in = append_inputs(op, span);
  at::Tensor out = at::empty({batch, op.heads, up_k.size(2)}, q.options());
  check_launch("rope_append_query",
               launch_append_query(in.params,
                                   {q.const_data_ptr(),
                                    up_k.const_data_ptr(),
                                    out.mutable_data_ptr(),
                                    q.stride(0),
                                    narrow(batch),
                                    narrow(op.heads),
                                    narrow(n),
                                    narrow(up_k.size(2)),
                                    narrow(op.heads / up_k.size(0)),
                                    scalar_of(q)},
                                   current_stream()));
  return out;
}

at::Tensor shared_rope_append(const SharedRopeAppend& op, const DecodeSpan& span, Backend backend) {
  const std::int64_t batch = op.projected.size(0), heads = op.q_mix.size(0),
                     components = op.q_mix.size(1), dim = op.cos.size(1);
  check_span("shared_rope_append", span, batch, op.k_rope);
  check_plane("shared_rope_append", op.k_rope, op.k_rope);
  check_plane("shared_rope_append", op.latent, op.k_rope);
  const std::int64_t width = heads * dim + 2 * components + op.latent.width();
  check(op.projected.size(1) == width && op.k_rope.width() == 2 * components,
        ErrorKind::Internal,
        "shared_rope_append: expected rows of {} numbers and keys of {}, got {} and {}",
        width,
        2 * components,
        op.projected.size(1),
        op.k_rope.width());
  if (!choose_cuda(backend, "shared_rope_append", why_unsupported(op.projected)))
    return reference::shared_rope_append(op, span);
  const at::Tensor dims = op.rope_dims.contiguous(), mix = op.q_mix.contiguous();
  const at::Tensor cos = op.cos.contiguous(), sin = op.sin.contiguous();
  at::Tensor q_rope = at::empty({batch, heads, 2 * components}, op.projected.options());
  check_launch("shared_rope_append",
               launch_shared_rope_append({op.projected.const_data_ptr(),
                                          mix.const_data_ptr(),
                                          cos.const_data_ptr(),
                                          sin.const_data_ptr(),
                                          dims.const_data_ptr<std::int64_t>(),
                                          q_rope.mutable_data_ptr(),
                                          params_of(op.k_rope),
                                          params_of(op.latent),
                                          pages_of(span, op.k_rope),
                                          span.count.const_data_ptr<int>(),
                                          op.projected.stride(0),
                                          narrow(batch),
                                          narrow(heads),
                                          narrow(components),
                                          narrow(dim),
                                          scalar_of(op.projected)},
                                         current_stream()));
  return q_rope;
}

at::Tensor mla_decode(const at::Tensor& q_rope,
                      const at::Tensor& q_latent,
                      const Plane& k_rope,
                      const Plane& latent,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend) {
  if (!choose_cuda(backend, "mla_decode", why_no_mla(q_latent, k_rope, latent, span)))
    return reference::mla_decode(q_rope, q_latent, k_rope, latent, span, scale);
  return merge("mla_decode", launch_mla(q_rope, q_latent, k_rope, latent, span, scale), q_latent);
}

at::Tensor mla_decode_values(const at::Tensor& q_rope,
                             const at::Tensor& q_latent,
                             const Plane& k_rope,
                             const Plane& latent,
                             const DecodeSpan& span,
                             double scale,
                             const at::Tensor& up_v,
                             Backend backend) {
  if (!choose_cuda(backend, "mla_decode", why_no_mla(q_latent, k_rope, latent, span)))
    return heads_linear(
        reference::mla_decode(q_rope, q_latent, k_rope, latent, span, scale), up_v, backend);
  const Splits splits = launch_mla(q_rope, q_latent, k_rope, latent, span, scale);
  const std::int64_t batch = q_latent.size(0), heads = q_latent.size(1), rows = up_v.size(1);
  const bool whole = up_v.is_contiguous() && up_v.scalar_type() == q_latent.scalar_type() &&
                     reinterpret_cast<std::uintptr_t>(up_v.const_data_ptr()) % 16 == 0;
  if (!whole ||
      why_no_merge_values(
          narrow(batch), splits.params.splits, narrow(up_v.size(2)), narrow(rows)) != nullptr)
    return heads_linear(merge("mla_decode", splits, q_latent), up_v, backend);
  at::Tensor out = at::empty({batch, heads, rows}, q_latent.options());
  check_launch("mla_decode_values",
               launch_merge_values({splits.params,
                                    up_v.const_data_ptr(),
                                    out.mutable_data_ptr(),
                                    narrow(batch),
                                    narrow(heads),
                                    narrow(up_v.size(2)),
                                    narrow(rows),
                                    narrow(heads / up_v.size(0)),
                                    scalar_of(q_latent)},
                                   current_stream()));
  return out;
}

at::Tensor mha_decode(const at::Tensor& q,
                      const Plane& k,
                      const Plane& v,
                      const DecodeSpan& span,
                      double scale,
                      Backend backend) {
  const std::int64_t batch = q.size(0), heads = q.size(1), dim = q.size(2), kv_heads = k.heads;
  check_span("mha_decode", span, batch, k);
  check_plane("mha_decode", k, k);
  check_plane("mha_decode", v, k);
  auto why = why_not_half(q);
  if (!why) why = why_no_mha_kernel(dim);
  if (!why) why = why_no_plane(k);
  if (!why) why = why_no_plane(v);
  if (!why && k.codec != v.codec) why = "expected keys and values stored alike";
  if (!choose_cuda(backend, "mha_decode", why)) return reference::mha_decode(q, k, v, span, scale);
  const at::Tensor in = packed_rows(q);
  // Eight small blocks fit one processor; a split has work for 64 tokens at a time.
  const std::int64_t count = plan_splits(
      span.max_count, batch * kv_heads, multiprocessors() * 8, /*overhead=*/32, /*least=*/64);
  const Splits splits = make_splits(span, q, heads, dim, count, scale, Partials::Sums);
  check_launch("mha_decode",
               launch_mha_decode({splits.params,
                                  pages_of(span, k),
                                  params_of(k),
                                  params_of(v),
                                  in.const_data_ptr(),
                                  in.stride(0),
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
                                             std::int64_t latent_dim,
                                             Codec rope_codec,
                                             Codec latent_codec) {
  return as_text(why_no_mla_decode(narrow(heads),
                                   narrow(kv_heads),
                                   narrow(rope_dim),
                                   narrow(latent_dim),
                                   rope_codec,
                                   latent_codec,
                                   /*paged=*/false));
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
