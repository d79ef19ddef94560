// predictions.jsonl while it grows: one line a sample, fsynced by batch, so that a killed run goes
// on where it was.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace vmla {

// Removes a last line without its newline: a write that was cut off. Errors: ErrorKind::Io.
void remove_torn_line(const fs::path& path);
// A line as it stands in the file, with its newline.
std::string log_text(const Json& line);

class PredictionLog {
 public:
  // Opens or makes the file for appending, without a torn line. Errors: ErrorKind::Io.
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
