#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "nn/kv_cache.h"

namespace vmla {

ContiguousCache::ContiguousCache(std::vector<CacheLayout> layouts,
                                 std::int64_t batch,
                                 at::ScalarType dtype,
                                 at::Device device,
                                 std::int64_t block_tokens)
    : layouts_(std::move(layouts)),
      batch_(batch),
      dtype_(dtype),
      device_(device),
      block_tokens_(block_tokens) {
  for (const auto& layout : layouts_) storage_.emplace_back(layout.planes.size());
}

at::Tensor& ContiguousCache::grown(std::int64_t layer, std::size_t plane, std::int64_t tokens) {
  at::Tensor& store = storage_[static_cast<std::size_t>(layer)][plane];
  if (store.defined() && store.size(1) >= tokens) return store;
  std::vector<std::int64_t> shape{batch_,
                                  (tokens + block_tokens_ - 1) / block_tokens_ * block_tokens_};
  const auto& per_token = layouts_[static_cast<std::size_t>(layer)].planes[plane].shape;
  shape.insert(shape.end(), per_token.begin(), per_token.end());
  at::Tensor larger = at::empty(shape, at::TensorOptions().dtype(dtype_).device(device_));
  if (store.defined() && length_ > 0)
    larger.narrow(1, 0, length_).copy_(store.narrow(1, 0, length_));
  store = std::move(larger);
  return store;
}

std::vector<at::Tensor> ContiguousCache::append(std::int64_t layer,
                                                const std::vector<at::Tensor>& planes) {
  const CacheLayout& want = layout(layer);
  check(planes.size() == want.planes.size(),
        ErrorKind::Internal,
        "cache layer {}: expected {} planes, got {}",
        layer,
        want.planes.size(),
        planes.size());
  std::vector<at::Tensor> all;
  for (std::size_t i = 0; i < planes.size(); ++i) {
    check(planes[i].size(0) == batch_ &&
              planes[i].sizes().slice(2) == at::IntArrayRef(want.planes[i].shape),
          ErrorKind::Internal,
          "cache layer {}, plane {}: expected [{}, S, {}], got [{}]",
          layer,
          want.planes[i].name,
          batch_,
          fmt::join(want.planes[i].shape, ", "),
          fmt::join(planes[i].sizes(), ", "));
    const std::int64_t fresh = planes[i].size(1);
    at::Tensor& store = grown(layer, i, length_ + fresh);
    store.narrow(1, length_, fresh).copy_(planes[i]);
    all.push_back(store.narrow(1, 0, length_ + fresh));
  }
  return all;
}

std::int64_t ContiguousCache::bytes() const {
  return batch_ * length_ * elements_per_token(layouts_) *
         static_cast<std::int64_t>(c10::elementSize(dtype_));
}

std::int64_t ContiguousCache::allocated_bytes() const {
  std::int64_t sum = 0;
  for (const auto& layer : storage_) {
    for (const auto& plane : layer)
      sum += plane.defined() ? static_cast<std::int64_t>(plane.nbytes()) : 0;
  }
  return sum;
}

void ContiguousCache::select_rows(const at::Tensor& index) {
  for (auto& layer : storage_) {
    for (auto& plane : layer) {
      if (plane.defined()) plane = plane.index_select(0, index.to(plane.device()));
    }
  }
  batch_ = index.numel();
}

void ContiguousCache::truncate(std::int64_t length) {
  check(length >= 0 && length <= length_,
        ErrorKind::Internal,
        "cache: cannot truncate {} tokens to {}",
        length_,
        length);
  length_ = length;
}

void ContiguousCache::reserve(std::int64_t tokens) {
  for (std::int64_t layer = 0; layer < layers(); ++layer) {
    for (std::size_t plane = 0; plane < storage_[static_cast<std::size_t>(layer)].size(); ++plane) {
      grown(layer, plane, tokens);
    }
  }
}

void ContiguousCache::poison_unused() {
  for (auto& layer : storage_) {
    for (auto& plane : layer) {
      if (plane.defined()) plane.slice(1, length_).fill_(std::numeric_limits<float>::quiet_NaN());
    }
  }
}

}  // namespace vmla
