// Seconds of processor time of this process: unlike wall time it does not grow on a busy machine.
#pragma once

#include <ctime>

namespace vmla::test {

class CpuClock {
 public:
  double seconds() const { return static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC; }

 private:
  std::clock_t start_ = std::clock();
};

}  // namespace vmla::test
