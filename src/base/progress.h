// A progress bar with rate and ETA on stderr; silent unless stderr is a terminal.
#pragma once

#include <cstdint>
#include <string>

#include "base/stopwatch.h"

namespace vmla {

// Not thread-safe. The bar is wiped when the object dies, so that log lines stay readable.
class Progress {
 public:
  // The unit "B" shows amounts and rate as human_bytes does.
  Progress(std::string label, std::int64_t total, std::string unit = "it");
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // note is shown behind the bar, such as "loss 1.23".
  void advance(std::int64_t steps = 1, const std::string& note = {});
  std::int64_t done() const { return done_; }
  // The line that a terminal shows; public for tests.
  static std::string render(const std::string& label,
                            std::int64_t done,
                            std::int64_t total,
                            double seconds,
                            const std::string& unit,
                            const std::string& note,
                            int columns);

 private:
  void draw();
  std::string label_;
  std::string unit_;
  std::string note_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  bool visible_;
  bool drawn_ = false;
  double last_drawn_ = -1.0;
  Stopwatch watch_;
};

}  // namespace vmla
