#include "engine/padding.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace vmla {

at::Tensor padding_first(const at::Tensor& key_mask) {
  return key_mask.to(at::kByte).argsort(/*stable=*/true, /*dim=*/1);
}

void reorder_tokens(ContiguousCache& cache, const at::Tensor& index) {
  check(index.dim() == 2 && index.size(0) == cache.batch() && index.size(1) == cache.length(),
        ErrorKind::Internal,
        "reorder_tokens: expected [{}, {}], got [{}]",
        cache.batch(),
        cache.length(),
        fmt::join(index.sizes(), ", "));
  const std::int64_t rows = index.size(0), tokens = index.size(1);
  const auto reorder = [&](const at::Tensor& stored) {  // [B, capacity, …]
    if (!stored.defined()) return;
    const at::Tensor place =
        index + at::arange(rows, index.options()).unsqueeze(1) * stored.size(1);
    // Quantised kinds of 8 bits are moved as plain bytes.
    const at::Tensor from = stored.element_size() == 1 ? stored.view(at::kByte) : stored;
    from.narrow(1, 0, tokens)
        .copy_(from.flatten(0, 1).index_select(0, place.flatten()).unflatten(0, {rows, tokens}));
  };
  for (std::int64_t layer = 0; layer < cache.layers(); ++layer) {
    for (std::size_t plane = 0; plane < cache.layout(layer).planes.size(); ++plane) {
      const StoredPlane& stored = cache.stored(layer, plane);
      reorder(stored.payload);
      reorder(stored.scales);
    }
  }
}

}  // namespace vmla
