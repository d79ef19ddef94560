#include "nn/rope_selection.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace vmla {

void check_rope_selection(const RopeSelection& s, std::int64_t head_dim) {
  const bool known =
      s.version == "high" || s.version == "low" || s.version == "uniform" || s.needs_ranks();
  check(known,
        ErrorKind::Usage,
        "partial_rope_version: expected high, low, uniform, 2-norm or kl, got {}",
        s.version);
  check(s.rope_dim > 0 && s.rope_dim % 2 == 0 && s.rope_dim <= head_dim,
        ErrorKind::Usage,
        "rope_dim_for_mla: expected an even number from 2 to head_dim {}, got {}",
        head_dim,
        s.rope_dim);
  if (s.version == "uniform") {
    check(head_dim % s.rope_dim == 0 && (head_dim / 2) % (head_dim / s.rope_dim) == 0,
          ErrorKind::Usage,
          "rope_dim_for_mla: expected a divisor of head_dim {} whose step divides {} for uniform, "
          "got {}",
          head_dim,
          head_dim / 2,
          s.rope_dim);
    check(s.uniform_start_point >= 0 && s.uniform_start_point < head_dim / s.rope_dim,
          ErrorKind::Usage,
          "uniform_start_point: expected 0 to {}, got {}",
          head_dim / s.rope_dim - 1,
          s.uniform_start_point);
  }
}

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

}  // namespace vmla
