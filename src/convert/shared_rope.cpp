#include "convert/shared_rope.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "convert/metric_low_rank.h"

namespace vmla {
namespace {

// [K*D] or [K*D, X] -> complex [D/2, K, X]
at::Tensor complex_pairs(const at::Tensor& rows, std::int64_t kv_heads) {
  const at::Tensor parts =
      rows.to(at::kDouble).reshape({kv_heads, 2, -1, rows.numel() / rows.size(0)});
  return at::complex(parts.select(1, 0).contiguous(), parts.select(1, 1).contiguous())
      .transpose(0, 1);
}

}  // namespace

SharedRopeComponents::SharedRopeComponents(const KeyRows& keys,
                                           const at::Tensor& inputs,
                                           const at::Tensor& cost)
    : keys_(keys) {
  keys_by_pair_ = complex_pairs(keys.weight, keys.kv_heads);
  if (keys.bias.defined())
    keys_by_pair_ = at::cat({keys_by_pair_, complex_pairs(keys.bias, keys.kv_heads)}, 2);
  keys_by_pair_ = keys_by_pair_.contiguous();
  const at::Tensor moments = at::matmul(at::matmul(keys_by_pair_, inputs.to(at::kComplexDouble)),
                                        keys_by_pair_.mH());     // [D/2, K, K]
  const at::Tensor power = at::real(moments.diagonal(0, 1, 2));  // E|k|^2
  const at::Tensor scale = (cost.t() / power.clamp_min(1e-30)).sqrt();
  // w = u / G must stay finite where a head's pair costs nothing.
  const double largest = scale.max().item<double>();
  scale_ = scale.clamp_min(largest > 0 ? 1e-6 * largest : 1.0);
  const at::Tensor weighted =
      moments * (scale_.unsqueeze(1) * scale_.unsqueeze(2)).to(at::kComplexDouble);
  const auto [values, vectors] = at::linalg_eigh((weighted + weighted.mH()) / 2);
  const auto [sorted, order] = values.clamp_min(0).flatten().sort(/*stable=*/true, 0, true);
  energies_ = sorted;
  tails_ = tail_sums(energies_);
  frequencies_ = order.div(keys.kv_heads, "floor");
  vectors_ = vectors.transpose(1, 2).flatten(0, 1).index_select(0, order);
}

double SharedRopeComponents::dropped(std::int64_t components) const {
  return tails_.at(static_cast<std::size_t>(std::min(components, size())));
}

SharedRopeComponents::Selection SharedRopeComponents::select(std::int64_t components,
                                                             std::int64_t heads) const {
  Selection out;
  out.frequencies = frequencies_.slice(0, 0, components).contiguous();
  const at::Tensor vectors = vectors_.slice(0, 0, components);             // [n, K]
  const at::Tensor scale = scale_.index_select(0, out.frequencies);        // [n, K]
  const at::Tensor keys = keys_by_pair_.index_select(0, out.frequencies);  // [n, K, E']
  const at::Tensor complex_scale = scale.to(at::kComplexDouble);
  // k_m = u^H G K_j x
  const at::Tensor rows =
      at::matmul((vectors.conj() * complex_scale).unsqueeze(1), keys).squeeze(1);  // [n, E']
  const std::int64_t hidden = keys_.weight.size(1);
  const at::Tensor by_part = at::cat({at::real(rows), at::imag(rows)});
  out.weight = by_part.slice(1, 0, hidden).contiguous();
  if (keys_.bias.defined()) out.bias = by_part.select(1, hidden).contiguous();
  const at::Tensor w = vectors / complex_scale;  // [n, K]
  out.mix = at::view_as_real(w.t().contiguous().resolve_conj())
                .repeat_interleave(heads / keys_.kv_heads, 0)
                .contiguous();
  // K_j - sum_m w_m k_m, frequency by frequency: one product, with zeros where m is of another.
  const std::int64_t pairs = keys_by_pair_.size(0);
  const at::Tensor by_pair =
      at::zeros({pairs, keys_.kv_heads, components}, w.options())
          .scatter(0,
                   out.frequencies.view({1, 1, -1}).expand({1, keys_.kv_heads, components}),
                   w.t().unsqueeze(0));
  const at::Tensor taken = by_pair.flatten(0, 1).mm(rows.slice(1, 0, hidden));
  const at::Tensor rest =
      (keys_by_pair_.slice(2, 0, hidden) - taken.view({pairs, keys_.kv_heads, hidden}))
          .transpose(0, 1);  // [K, D/2, E]
  out.rest = at::stack({at::real(rest), at::imag(rest)}, 1).flatten(0, 2);
  return out;
}

}  // namespace vmla
