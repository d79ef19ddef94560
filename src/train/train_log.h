// What a run says about itself: Hugging Face's log lines, log_history, TensorBoard, the loss curve.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "train/event_file.h"

namespace vmla {

// A float as Python's repr prints it: 1e-05, 0.1, 3.0, inf.
std::string python_repr(double value);
// round(value, digits).
double rounded(double value, int digits);

using LogValues = std::vector<std::pair<std::string, double>>;

// "{'loss': 1.25, 'epoch': 0.5}", the epoch rounded to two digits as HF shows it.
std::string python_dict(const LogValues& values);

class TrainLog {
 public:
  // events may be null. Lines go to stdout, or to stderr when stdout belongs to a report.
  TrainLog(std::unique_ptr<EventFile> events, bool to_stdout);

  // values gain "epoch"; the history's entry gains "step" too.
  void log(LogValues values, double epoch, std::int64_t step);
  const Json& history() const { return history_; }
  void set_history(Json history) { history_ = std::move(history); }

 private:
  std::unique_ptr<EventFile> events_;
  bool to_stdout_;
  Json history_ = Json::array();
};

// Draws the losses of a log_history; says so in one line when it cannot.
void write_loss_curve(const fs::path& svg, const Json& history);

}  // namespace vmla
