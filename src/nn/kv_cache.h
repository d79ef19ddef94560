// Storage of keys and values, or of latents, for all layers of a decoder.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/cache_layout.h"
#include "nn/plane_codec.h"

namespace vmla {

// A storage policy only: whether it holds MHA keys or MLA latents is the layout's business. All
// rows advance together; padding inside a row is the caller's mask. Not thread-safe.
class KvCache {
 public:
  virtual ~KvCache() = default;

  // Writes the new tokens of one layer behind the length() tokens that are there and returns all of
  // them as they are stored: of a quantised plane the dequantised numbers. planes[i] [B, S, …plane
  // shape], in the layout's order -> [B, length() + S, …plane shape].
  virtual std::vector<at::Tensor> append(std::int64_t layer,
                                         const std::vector<at::Tensor>& planes) = 0;
  // Once per step, after the last layer.
  virtual void advance(std::int64_t tokens) = 0;

  virtual const CacheLayout& layout(std::int64_t layer) const = 0;
  virtual std::int64_t layers() const = 0;
  virtual std::int64_t batch() const = 0;
  virtual std::int64_t length() const = 0;  // T, tokens a row

  // Exactly B * T * bytes_per_token(all layouts), scales included.
  virtual std::int64_t bytes() const = 0;
  virtual std::int64_t allocated_bytes() const = 0;

  // Keeps rows index [B'] (int64), in that order; a row may be named several times.
  virtual void select_rows(const at::Tensor& index) = 0;
  // Forgets everything behind the first `length` tokens.
  virtual void truncate(std::int64_t length) = 0;
};

// One StoredPlane a plane, [B, capacity, …], grown in blocks of tokens.
class ContiguousCache final : public KvCache {
 public:
  // dtype: what append returns, and what planes whose codec is open are stored in.
  ContiguousCache(std::vector<CacheLayout> layouts,
                  std::int64_t batch,
                  at::ScalarType dtype,
                  at::Device device,
                  std::int64_t block_tokens = 256);

  std::vector<at::Tensor> append(std::int64_t layer,
                                 const std::vector<at::Tensor>& planes) override;
  void advance(std::int64_t tokens) override { length_ += tokens; }
  const CacheLayout& layout(std::int64_t layer) const override {
    return layouts_[static_cast<std::size_t>(layer)];
  }
  std::int64_t layers() const override { return static_cast<std::int64_t>(layouts_.size()); }
  std::int64_t batch() const override { return batch_; }
  std::int64_t length() const override { return length_; }
  std::int64_t bytes() const override;
  std::int64_t allocated_bytes() const override;
  void select_rows(const at::Tensor& index) override;
  void truncate(std::int64_t length) override;

  // Makes room in advance, so that a run of known length allocates once.
  void reserve(std::int64_t tokens);
  // Fills the rows past length() with NaN (a quantised plane's through its scales); they must never
  // be read (tests).
  void poison_unused();

  // For kernels that read it as it lies: [B, capacity >= length(), …].
  const StoredPlane& stored(std::int64_t layer, std::size_t plane) const {
    return storage_[static_cast<std::size_t>(layer)][plane];
  }

 private:
  StoredPlane& grown(std::int64_t layer, std::size_t plane, std::int64_t tokens);
  std::vector<CacheLayout> layouts_;
  std::int64_t batch_;
  at::ScalarType dtype_;
  at::Device device_;
  std::int64_t block_tokens_;
  std::int64_t length_ = 0;
  std::vector<std::vector<StoredPlane>> storage_;  // [layer][plane] -> [B, capacity, …]
};

}  // namespace vmla
