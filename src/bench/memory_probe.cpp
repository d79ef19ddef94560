#include "bench/memory_probe.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "base/error.h"
#include "base/log.h"

namespace vmla {
namespace {

class ResidentSetProbe final : public MemoryProbe {
 public:
  std::int64_t current_bytes() override { return status_bytes("VmRSS:"); }

  void reset_peak() override {
    std::ofstream file("/proc/self/clear_refs");
    file << "5" << std::flush;  // resets VmHWM
    if (file || warned_) return;
    log_warning("/proc/self/clear_refs cannot be written: peaks are those since the program began");
    warned_ = true;
  }

  std::int64_t peak_bytes() override { return std::max(status_bytes("VmHWM:"), current_bytes()); }
  void release_cached() override { ::malloc_trim(0); }
  const char* method() const override { return "rss"; }

 private:
  static std::int64_t status_bytes(const std::string& field) {
    std::ifstream file("/proc/self/status");
    std::string word;
    while (file >> word) {
      std::int64_t kib = 0;
      if (word == field && file >> kib) return kib * 1024;
    }
    fail(ErrorKind::Unsupported, "/proc/self/status: expected {}, found none", field);
  }

  bool warned_ = false;
};

class AllocatorProbe final : public MemoryProbe {
 public:
  explicit AllocatorProbe(at::Device device)
      : allocator_(*c10::getDeviceAllocator(device.type())), device_(device.index()) {}

  std::int64_t current_bytes() override { return allocated().current; }
  void reset_peak() override { allocator_.resetPeakStats(device_); }
  std::int64_t peak_bytes() override { return allocated().peak; }
  void release_cached() override { allocator_.emptyCache(); }
  const char* method() const override { return "allocator"; }
  bool counts_tensors() const override { return true; }

 private:
  c10::CachingAllocator::Stat allocated() const {
    constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return allocator_.getDeviceStats(device_).allocated_bytes[kAll];
  }

  c10::DeviceAllocator& allocator_;
  c10::DeviceIndex device_;
};

}  // namespace

std::unique_ptr<MemoryProbe> MemoryProbe::make(at::Device device) {
  if (device.is_cpu()) return std::make_unique<ResidentSetProbe>();
  return std::make_unique<AllocatorProbe>(device);
}

}  // namespace vmla
