// Where a conversion's time goes.
#pragma once

#include <torch/types.h>

#include <map>
#include <string>

#include "base/stopwatch.h"

namespace vmla {

using StageSeconds = std::map<std::string, double>;  // by a stage's name

// Laps that end when the device has done what was asked of it.
class StageClock {
 public:
  explicit StageClock(at::Device device) : device_(device) {}

  // Adds what has passed since the last lap to one of seconds; null: to none, and does not wait.
  void lap(StageSeconds* seconds, const char* stage);
  // The next lap begins now.
  void restart() { before_ = watch_.seconds(); }

 private:
  at::Device device_;
  Stopwatch watch_;
  double before_ = 0.0;
};

}  // namespace vmla
