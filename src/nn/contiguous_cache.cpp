#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "nn/kv_cache.h"

namespace vmla {
namespace {

// Calls use(tensor) for the payload and, where there are any, the scales.
template <typename Storage, typename Use>
void for_each_tensor(Storage& storage, const Use& use) {
  for (auto& layer : storage) {
    for (auto& plane : layer) {
      if (plane.payload.defined()) use(plane.payload);
      if (plane.scales.defined()) use(plane.scales);
    }
  }
}

// The planes of `from` into `to` from token `begin` on.
void write(StoredPlane& to, std::int64_t begin, const StoredPlane& from) {
  const std::int64_t count = from.payload.size(1);
  to.payload.narrow(1, begin, count).copy_(from.payload);
  if (to.scales.defined()) to.scales.narrow(1, begin, count).copy_(from.scales);
}

StoredPlane first(const StoredPlane& plane, std::int64_t tokens) {
  return {plane.payload.narrow(1, 0, tokens),
          plane.scales.defined() ? plane.scales.narrow(1, 0, tokens) : at::Tensor()};
}

// The first `used` tokens of `old` in room for `tokens`.
StoredPlane moved(const StoredPlane& old,
                  const CachePlane& plane,
                  std::int64_t batch,
                  std::int64_t used,
                  std::int64_t tokens,
                  at::Device device) {
  StoredPlane larger = empty_plane(plane, batch, tokens, device);
  if (old.payload.defined() && used > 0) write(larger, 0, first(old, used));
  return larger;
}

bool has_room(const StoredPlane& store, std::int64_t tokens) {
  return store.payload.defined() && store.payload.size(1) >= tokens;
}

std::int64_t in_steps_of(std::int64_t step, std::int64_t tokens) {
  return (tokens + step - 1) / step * step;
}

// One allocation for the planes of all layers: the allocator rounds each of many, by up to a
// megabyte on a GPU, and a fresh one costs a call of the driver.
class Slab {
 public:
  Slab(const std::vector<CacheLayout>& layouts,
       std::int64_t batch,
       std::int64_t tokens,
       at::Device device) {
    std::int64_t bytes = 0;
    for (const CacheLayout& layout : layouts) {
      for (const CachePlane& plane : layout.planes) {
        const StoredPlane shape = empty_plane(plane, batch, tokens, at::kMeta);
        bytes += aligned(shape.payload) + (shape.scales.defined() ? aligned(shape.scales) : 0);
      }
    }
    bytes_ = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(device));
  }

  // As empty_plane's.
  StoredPlane take(const CachePlane& plane, std::int64_t batch, std::int64_t tokens) {
    const StoredPlane shape = empty_plane(plane, batch, tokens, at::kMeta);
    return {part(shape.payload), shape.scales.defined() ? part(shape.scales) : at::Tensor()};
  }

 private:
  static std::int64_t aligned(const at::Tensor& shape) {
    constexpr std::int64_t kAlign = 512;
    return in_steps_of(kAlign, static_cast<std::int64_t>(shape.nbytes()));
  }
  at::Tensor part(const at::Tensor& shape) {
    const at::Tensor out = bytes_.narrow(0, used_, static_cast<std::int64_t>(shape.nbytes()))
                               .view(shape.scalar_type())
                               .view(shape.sizes());
    used_ += aligned(shape);
    return out;
  }

  at::Tensor bytes_;
  std::int64_t used_ = 0;
};

}  // namespace

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
  for (auto& layout : layouts_) {
    storage_.emplace_back(layout.planes.size());
    for (auto& plane : layout.planes) {
      if (plane.codec.dtype == CacheDtype::Auto) plane.codec.dtype = cache_dtype_of(dtype);
    }
  }
}

StoredPlane& ContiguousCache::grown(std::int64_t layer, std::size_t plane, std::int64_t tokens) {
  StoredPlane& store = storage_[static_cast<std::size_t>(layer)][plane];
  if (!has_room(store, tokens)) {
    store = moved(store,
                  layout(layer).planes[plane],
                  batch_,
                  length_,
                  in_steps_of(block_tokens_, tokens),
                  device_);
  }
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
    StoredPlane& store = grown(layer, i, length_ + fresh);
    write(store, length_, encode_plane(planes[i], want.planes[i]));
    all.push_back(decode_plane(first(store, length_ + fresh), want.planes[i], dtype_));
  }
  return all;
}

std::int64_t ContiguousCache::bytes() const {
  return batch_ * length_ * bytes_per_token(layouts_);
}

std::int64_t ContiguousCache::allocated_bytes() const {
  std::int64_t sum = 0;
  for_each_tensor(storage_,
                  [&](const at::Tensor& t) { sum += static_cast<std::int64_t>(t.nbytes()); });
  return sum;
}

void ContiguousCache::select_rows(const at::Tensor& index) {
  const at::Tensor rows = index.to(device_);
  const std::int64_t count = index.numel();
  for_each_tensor(storage_, [&](at::Tensor& t) {
    at::Tensor chosen = t.index_select(0, rows);
    if (count > batch_) {
      t = std::move(chosen);
      return;
    }
    // In place: planes of one allocation would all stay until the last of them is left.
    t = t.narrow(0, 0, count);
    t.copy_(chosen);
  });
  batch_ = count;
}

void ContiguousCache::truncate(std::int64_t length) {
  check(length >= 0 && length <= length_,
        ErrorKind::Internal,
        "cache: cannot truncate {} tokens to {}",
        length_,
        length);
  length_ = length;
}

// Hardly more than asked for: a block of an MHA model's cache may be a hundred megabytes.
void ContiguousCache::reserve(std::int64_t tokens) {
  const std::int64_t room = in_steps_of(std::min<std::int64_t>(16, block_tokens_), tokens);
  if (length_ == 0 && batch_ > 0 && allocated_bytes() == 0) {
    Slab slab(layouts_, batch_, room, device_);
    for (std::int64_t layer = 0; layer < layers(); ++layer) {
      auto& planes = storage_[static_cast<std::size_t>(layer)];
      for (std::size_t i = 0; i < planes.size(); ++i)
        planes[i] = slab.take(layout(layer).planes[i], batch_, room);
    }
    return;
  }
  for (std::int64_t layer = 0; layer < layers(); ++layer) {
    auto& planes = storage_[static_cast<std::size_t>(layer)];
    for (std::size_t i = 0; i < planes.size(); ++i) {
      if (!has_room(planes[i], tokens))
        planes[i] = moved(planes[i], layout(layer).planes[i], batch_, length_, room, device_);
    }
  }
}

void ContiguousCache::poison_unused() {
  for_each_tensor(storage_, [&](at::Tensor& t) {
    at::Tensor unused = t.slice(1, length_);
    if (t.is_floating_point()) {
      unused.fill_(std::numeric_limits<float>::quiet_NaN());
    } else {
      unused.fill_(0x7f);  // fp8's NaN; of int8 and int4 the largest number
    }
  });
}

}  // namespace vmla
