// predictions.jsonl while it grows: one line a sample, fsynced by batch, so that a killed run goes
// on where it was.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace vmla {

class PredictionLog {
 public:
  // Opens or makes the file for appending; a last line without its newline (a write that was cut
  // off) is removed. Errors: ErrorKind::Io.
  explicit PredictionLog(fs::path path);
  ~PredictionLog();
  PredictionLog(const PredictionLog&) = delete;
  PredictionLog& operator=(const PredictionLog&) = delete;

  // Writes all lines with one write, then fsyncs. Errors: ErrorKind::Io.
  void append(const std::vector<Json>& lines);

 private:
  fs::path path_;
  int fd_ = -1;
};

}  // namespace vmla
