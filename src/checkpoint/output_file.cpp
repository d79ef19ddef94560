#include "checkpoint/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace vmla {

OutputFile::OutputFile(fs::path path, std::uint64_t size) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  check(fd_ >= 0, ErrorKind::Io, "{}: cannot be created: {}", path_.string(), std::strerror(errno));
  if (size == 0) return;
  int rc = ::fallocate(fd_, 0, 0, static_cast<off_t>(size));
  if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
    rc = ::ftruncate(fd_, static_cast<off_t>(size));
  if (rc == 0) return;
  const int saved = errno;
  ::close(fd_);
  fail(ErrorKind::Io,
       "{}: no room for {}: {}",
       path_.string(),
       human_bytes(size),
       std::strerror(saved));
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::write(std::uint64_t offset, const void* data, std::uint64_t size) {
  const char* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n =
        ::pwrite(fd_, from, std::min<std::uint64_t>(size, 1U << 30), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    check(n > 0,
          ErrorKind::Io,
          "{}: writing failed: {}",
          path_.string(),
          std::strerror(n < 0 ? errno : ENOSPC));
    from += n;
    offset += static_cast<std::uint64_t>(n);
    size -= static_cast<std::uint64_t>(n);
  }
}

void OutputFile::close() {
  const int fd = std::exchange(fd_, -1);
  const bool closed = fd < 0 || ::close(fd) == 0;
  check(closed, ErrorKind::Io, "{}: writing failed: {}", path_.string(), std::strerror(errno));
}

void write_whole_file(const fs::path& path,
                      std::uint64_t size,
                      const std::function<void(OutputFile&)>& fill) {
  const fs::path temporary = path.string() + ".tmp-" + std::to_string(::getpid());
  std::error_code ec;
  check(!fs::is_directory(path, ec),
        ErrorKind::Io,
        "{}: expected a file name, got a directory",
        path.string());
  try {
    OutputFile file(temporary, size);
    fill(file);
    file.close();
    sync_path(temporary);
    const bool renamed = ::rename(temporary.c_str(), path.c_str()) == 0;
    check(renamed, ErrorKind::Io, "{}: rename failed: {}", path.string(), std::strerror(errno));
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace vmla
