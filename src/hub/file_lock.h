// Keeps other processes (and threads) from a file while it is written, as the hub's own client
// does: flock on a lock file that is never removed.
#pragma once

#include <atomic>
#include <string>

#include "base/files.h"

namespace vmla {

class FileLock {
 public:
  // Waits until nobody else holds it, saying so once in the log; subject names what is waited for.
  // Errors: Io when the file cannot be made or stop is set meanwhile.
  FileLock(const fs::path& path, const std::string& subject, const std::atomic<bool>& stop);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace vmla
