// Where a run keeps its settings and each rank's lines, so that it goes on after whatever has ended
// it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace vmla {

// run.json, predictions.jsonl and, with several ranks, predictions.rankN.jsonl of each.
class RunFolder {
 public:
  explicit RunFolder(fs::path path) : path_(std::move(path)) {}
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  // Rank 0, before any rank reads or writes. Makes the folder and writes settings to run.json, or
  // takes up the unfinished run there, whose torn last lines go: then true. overwrite: what a run
  // has left goes. No other run takes the folder up while this object lives. Errors: Usage for a
  // run of other settings and for one that is under way; Io.
  bool take_up(const Json& settings, bool overwrite);

  fs::path predictions() const;
  // Where a rank writes its lines.
  fs::path log(std::int64_t rank, std::int64_t ranks) const;
  std::vector<fs::path> rank_logs() const;
  // predictions.jsonl and the ranks' logs, as far as they hold lines.
  std::vector<fs::path> logs() const;
  // Once predictions.jsonl holds everything.
  void remove_rank_logs() const;

 private:
  void lock();
  void check_settings(const Json& settings) const;

  fs::path path_;
  int lock_ = -1;  // the folder's descriptor
};

}  // namespace vmla
