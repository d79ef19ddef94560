#include "nn/mask.h"

#include <ATen/ATen.h>

namespace vmla {

at::Tensor causal_mask(const at::Tensor& key_mask, std::int64_t queries) {
  const std::int64_t keys = key_mask.size(1);
  const auto options = at::TensorOptions().dtype(at::kLong).device(key_mask.device());
  const at::Tensor key_at = at::arange(keys, options).unsqueeze(0);                    // [1, T]
  const at::Tensor query_at = at::arange(keys - queries, keys, options).unsqueeze(1);  // [S, 1]
  const at::Tensor causal = key_at <= query_at;                                        // [S, T]
  const at::Tensor self = key_at == query_at;
  return causal.logical_and(key_mask.unsqueeze(1)).logical_or(self).unsqueeze(1);
}

at::Tensor positions_from_mask(const at::Tensor& key_mask) {
  return (key_mask.to(at::kLong).cumsum(1) - 1).clamp_min(0);
}

}  // namespace vmla
