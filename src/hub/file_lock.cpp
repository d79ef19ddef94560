#include "hub/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/log.h"

namespace vmla {

FileLock::FileLock(const fs::path& path,
                   const std::string& subject,
                   const std::atomic<bool>& stop) {
  std::error_code ec;
  fs::create_directories(path.parent_path(), ec);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  check(fd_ >= 0, ErrorKind::Io, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  bool told = false;
  while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (reason == EINTR) continue;
    // Where the file system knows no locks, the hash still decides what becomes a file.
    if (reason == ENOSYS || reason == ENOLCK || reason == EOPNOTSUPP) {
      log_warning("{}: cannot be locked: {}", path.string(), std::strerror(reason));
      return;
    }
    if (reason != EWOULDBLOCK || stop.load()) {
      ::close(fd_);
      fail(ErrorKind::Io,
           "{}: cannot be locked: {}",
           path.string(),
           reason == EWOULDBLOCK ? "the download was stopped" : std::strerror(reason));
    }
    if (!told) log_info("{}: waiting for another download of it", subject);
    told = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

FileLock::~FileLock() {
  ::close(fd_);
}

}  // namespace vmla
