#include "nn/attention_by_heads.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "nn/attention.h"

namespace vmla {

Linear of_heads(const Linear& projection, const KeyHeads& heads, std::int64_t dim) {
  const std::int64_t first = heads.first * dim, count = heads.count * dim;
  Linear out = projection;
  out.weight = projection.weight.narrow(0, first, count);
  if (projection.bias.defined()) out.bias = projection.bias.narrow(0, first, count);
  return out;
}

std::int64_t expansion_budget(std::int64_t batch) {
  constexpr std::int64_t kRow = std::int64_t{16} << 20, kMostRows = 16;
  return kRow * std::min(batch, kMostRows);
}

std::int64_t heads_within(std::int64_t budget, std::int64_t bytes_per_head, std::int64_t kv_heads) {
  return std::clamp<std::int64_t>(budget / std::max<std::int64_t>(bytes_per_head, 1), 1, kv_heads);
}

at::Tensor attention_by_heads(
    const at::Tensor& q,
    std::int64_t kv_heads,
    std::int64_t at_once,
    const std::function<std::pair<at::Tensor, at::Tensor>(const KeyHeads&)>& make,
    const at::Tensor& mask,
    double scale) {
  const std::int64_t group = q.size(2) / kv_heads;
  std::vector<at::Tensor> out;
  for (std::int64_t first = 0; first < kv_heads; first += at_once) {
    const KeyHeads heads{first, std::min(at_once, kv_heads - first)};
    const auto [k, v] = make(heads);
    out.push_back(
        expanded_attention(q.narrow(2, first * group, heads.count * group), k, v, mask, scale));
  }
  return out.size() == 1 ? out.front() : at::cat(out, -1);
}

}  // namespace vmla
