#include "nn/kept_rope_dims.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace vmla {

at::Tensor kept_rope_dims(const RopeSelection& s,
                          std::int64_t num_key_value_heads,
                          std::int64_t head_dim,
                          const at::Tensor& ranks) {
  check_rope_selection(s, head_dim);
  const std::int64_t half = head_dim / 2, pairs = s.rope_dim / 2;
  at::Tensor first;  // [K, R/2] within the first half
  if (s.needs_ranks()) {
    check(ranks.defined() && ranks.dim() == 2 && ranks.size(0) == num_key_value_heads &&
              ranks.size(1) == head_dim,
          ErrorKind::Checkpoint,
          "rope ranks: expected [{}, {}] a layer, got {}",
          num_key_value_heads,
          head_dim,
          ranks.defined() ? fmt::format("[{}]", fmt::join(ranks.sizes(), ", ")) : "none");
    const at::Tensor kept = ranks.slice(1, 0, half) < pairs;
    first = kept.nonzero().select(1, 1);
    check(first.numel() == num_key_value_heads * pairs,
          ErrorKind::Checkpoint,
          "rope ranks: expected {} pairs below rank {} in each head, got {} in all",
          pairs,
          pairs,
          first.numel());
    first = first.reshape({num_key_value_heads, pairs});
  } else {
    at::Tensor row;
    if (s.version == "high") {
      row = at::arange(0, pairs, at::kLong);
    } else if (s.version == "low") {
      row = at::arange(half - pairs, half, at::kLong);
    } else {
      row = at::arange(s.uniform_start_point, half, head_dim / s.rope_dim, at::kLong);
    }
    first = row.unsqueeze(0).expand({num_key_value_heads, pairs});
  }
  return at::cat({first, first + half}, 1).contiguous();
}

at::Tensor reordered_rows(const at::Tensor& kept, std::int64_t heads, std::int64_t head_dim) {
  const std::int64_t key_heads = kept.size(0), rope_dim = kept.size(1);
  at::Tensor is_kept = at::zeros({key_heads, head_dim}, at::kBool);
  is_kept.scatter_(1, kept, true);
  const at::Tensor rest =
      is_kept.logical_not().nonzero().select(1, 1).reshape({key_heads, head_dim - rope_dim});
  const at::Tensor base = (at::arange(heads, at::kLong) * head_dim).unsqueeze(1);
  const std::int64_t group = heads / key_heads;
  return at::cat({(kept.repeat_interleave(group, 0) + base).reshape(-1),
                  (rest.repeat_interleave(group, 0) + base).reshape(-1)});
}

at::Tensor ranks_keeping(const at::Tensor& kept, std::int64_t head_dim) {
  const std::int64_t heads = kept.size(0), pairs = kept.size(1) / 2, half = head_dim / 2;
  const at::Tensor is_kept =
      at::zeros({heads, half}, at::kLong).scatter(1, kept.slice(1, 0, pairs).cpu(), 1);
  const at::Tensor order = std::get<1>(is_kept.sort(/*stable=*/true, 1, /*descending=*/true));
  const at::Tensor ranks =
      at::empty_like(order).scatter(1, order, at::arange(half, at::kLong).expand({heads, half}));
  return at::cat({ranks, ranks}, 1).to(at::kByte);
}

}  // namespace vmla
