// Host tensors to a device: some threads read them, which is when a mapped file's pages come from
// the disk, while the chunks read before are on their way.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace vmla {

// One tensor of a copy. open and close are called by the reading threads, one open at a time.
struct StagedTensor {
  std::function<at::Tensor()> open;  // -> on the CPU; it may view a mapped file
  at::Tensor* to;                    // is made by the copy: contiguous, on the device
  std::function<void()> close;       // once all of it is read; may be empty
};

struct StagingOptions {
  std::int64_t chunk_bytes = std::int64_t{16} << 20;  // of a staging buffer
  int readers = 4;
  int spare_buffers = 2;  // how many beyond one a reader
};

// Each `to` becomes what `open` gives, in `dtype` (cast on the device); what else is queued on the
// device's current stream comes after it. On a GPU the staging buffers are pinned. Errors: those of
// open and close; then some of `to` are made and some not.
void copy_staged(const std::vector<StagedTensor>& tensors,
                 at::ScalarType dtype,
                 at::Device device,
                 const StagingOptions& options = {});

// Gives the pinned memory of finished copies back to the system, which otherwise waits for the next
// copy.
void release_staging(at::Device device);

}  // namespace vmla
