#include "base/atomic_directory.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace vmla {

AtomicDirectory::AtomicDirectory(fs::path target, bool overwrite)
    : target_(std::move(target)), overwrite_(overwrite) {
  target_ = absolute_path(target_.string());
  std::error_code ec;
  check(overwrite_ || !fs::exists(target_, ec),
        ErrorKind::Usage,
        "{}: expected a new directory, it exists already (--overwrite replaces it)",
        target_.string());
  check(!fs::exists(target_, ec) || fs::is_directory(target_, ec),
        ErrorKind::Usage,
        "{}: expected a directory, got a file",
        target_.string());
  check(fs::exists(target_, ec) || !fs::is_symlink(target_, ec),
        ErrorKind::Usage,
        "{}: expected a new directory, got a link that leads nowhere",
        target_.string());
  fs::create_directories(target_.parent_path(), ec);
  check(!ec,
        ErrorKind::Io,
        "{}: cannot be created: {}",
        target_.parent_path().string(),
        ec.message());
  temporary_ =
      target_.parent_path() / fmt::format(".{}.tmp-{}", target_.filename().string(), ::getpid());
  fs::remove_all(temporary_, ec);
  unfinished_.emplace(temporary_);
  fs::create_directory(temporary_, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", temporary_.string(), ec.message());
}

AtomicDirectory::~AtomicDirectory() {
  if (committed_) return;
  std::error_code ec;
  fs::remove_all(temporary_, ec);
}

void AtomicDirectory::commit(bool sync) {
  if (sync) {
    for (const auto& entry : fs::recursive_directory_iterator(temporary_)) {
      if (entry.is_regular_file() || entry.is_directory()) sync_path(entry.path());
    }
    sync_path(temporary_);
  }
  {
    const auto whole = unfinished_->hold();
    rename_to_target();
  }
  committed_ = true;
  std::error_code ec;
  fs::remove_all(temporary_, ec);  // what was replaced, if anything
  unfinished_.reset();
  sync_path(target_.parent_path());
}

void AtomicDirectory::rename_to_target() {
  std::error_code ec;
  if (fs::exists(target_, ec)) {
    check(
        overwrite_, ErrorKind::Usage, "{}: appeared while it was being written", target_.string());
    // Exchange: at no moment is the name missing.
    const long rc = ::syscall(SYS_renameat2,
                              AT_FDCWD,
                              temporary_.c_str(),
                              AT_FDCWD,
                              target_.c_str(),
                              2U /* RENAME_EXCHANGE */);
    if (rc == 0) return;
    fs::remove_all(target_, ec);
  }
  const bool renamed = ::rename(temporary_.c_str(), target_.c_str()) == 0;
  check(renamed, ErrorKind::Io, "{}: rename failed: {}", target_.string(), std::strerror(errno));
}

}  // namespace vmla
