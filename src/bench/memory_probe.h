// How much memory a device's tensors take, now and at most.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>

namespace vmla {

class MemoryProbe {
 public:
  // CPU: the process's resident set. Other devices: the counters of libtorch's caching allocator.
  static std::unique_ptr<MemoryProbe> make(at::Device device);
  virtual ~MemoryProbe() = default;

  virtual std::int64_t current_bytes() = 0;
  virtual void reset_peak() = 0;
  // The highest current_bytes() since reset_peak().
  virtual std::int64_t peak_bytes() = 0;
  // Gives freed memory back to the system.
  virtual void release_cached() = 0;
  virtual const char* method() const = 0;  // "rss" or "allocator"
  // Whether tensors alone are counted, so that sums of their sizes can be compared.
  virtual bool counts_tensors() const { return false; }
};

}  // namespace vmla
