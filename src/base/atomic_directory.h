// A directory that appears under its name only when it is complete.
#pragma once

#include <optional>

#include "base/files.h"
#include "base/remove_on_signal.h"

namespace vmla {

// Work in path(); commit() fsyncs everything and renames it to the target. Without commit() the
// destructor removes what was written, so a failure leaves no partial output and an old target
// untouched; nor does a signal (base/remove_on_signal.h).
class AtomicDirectory {
 public:
  // Errors: ErrorKind::Usage when target exists and overwrite is false; ErrorKind::Io when the
  // parent is not writable.
  AtomicDirectory(fs::path target, bool overwrite);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const fs::path& path() const { return temporary_; }
  const fs::path& target() const { return target_; }
  // sync = false spares the fsyncs, for thousands of small files that can be made again.
  void commit(bool sync = true);

 private:
  void rename_to_target();

  fs::path target_;
  fs::path temporary_;
  bool overwrite_;
  bool committed_ = false;
  std::optional<RemoveOnSignal> unfinished_;
};

}  // namespace vmla
