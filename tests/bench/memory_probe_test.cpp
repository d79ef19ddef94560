#include "bench/memory_probe.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace vmla::test {
namespace {

constexpr std::int64_t kSize = 64 << 20;
constexpr std::int64_t kSlack = 4 << 20;  // of the process itself

at::Tensor touched() {
  return at::ones({kSize}, at::kByte);
}

TEST(MemoryProbe, SeesWhatIsAllocatedAndFreed) {
  const auto probe = MemoryProbe::make(at::kCPU);
  EXPECT_STREQ(probe->method(), "rss");
  { const at::Tensor warm_up = touched(); }
  probe->release_cached();
  const std::int64_t before = probe->current_bytes();
  {
    const at::Tensor tensor = touched();
    EXPECT_NEAR(probe->current_bytes() - before, kSize, kSlack);
  }
  probe->release_cached();
  EXPECT_NEAR(probe->current_bytes() - before, 0, kSlack);
}

TEST(MemoryProbe, ThePeakOutlivesTheTensorUntilReset) {
  const auto probe = MemoryProbe::make(at::kCPU);
  { const at::Tensor warm_up = touched(); }
  probe->release_cached();
  probe->reset_peak();
  const std::int64_t before = probe->current_bytes();
  EXPECT_NEAR(probe->peak_bytes() - before, 0, kSlack);
  { const at::Tensor tensor = touched(); }
  probe->release_cached();
  EXPECT_NEAR(probe->peak_bytes() - before, kSize, kSlack);
  probe->reset_peak();
  EXPECT_NEAR(probe->peak_bytes() - before, 0, kSlack);
}

}  // namespace
}  // namespace vmla::test
