#include "base/files.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/error.h"

namespace vmla {

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  std::error_code ec;
  check(fs::exists(path, ec), ErrorKind::Io, "{}: expected a file, found none", path.string());
  check(!fs::is_directory(path, ec),
        ErrorKind::Io,
        "{}: expected a file, got a directory",
        path.string());
  std::ifstream in(path, std::ios::binary);
  check(in.good(), ErrorKind::Io, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  const auto size = fs::file_size(path, ec);
  if (!ec) {
    check(size <= max_bytes,
          ErrorKind::Io,
          "{}: expected at most {} bytes, got {}",
          path.string(),
          max_bytes,
          size);
  }
  std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  check(!in.bad(), ErrorKind::Io, "{}: reading failed", path.string());
  return content;
}

void sync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(fd >= 0, ErrorKind::Io, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  const int rc = ::fsync(fd);
  const int saved = errno;
  ::close(fd);
  check(rc == 0 || saved == EINVAL,
        ErrorKind::Io,
        "{}: fsync failed: {}",
        path.string(),
        std::strerror(saved));
}

void write_file_atomic(const fs::path& path, std::string_view content) {
  const fs::path temporary = path.string() + ".tmp-" + std::to_string(::getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  check(fd >= 0, ErrorKind::Io, "{}: cannot be created: {}", path.string(), std::strerror(errno));
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int saved = errno;
      ::close(fd);
      ::unlink(temporary.c_str());
      fail(ErrorKind::Io, "{}: writing failed: {}", path.string(), std::strerror(saved));
    }
    done += static_cast<std::size_t>(n);
  }
  const bool synced = ::fsync(fd) == 0;
  const bool closed = ::close(fd) == 0;
  if (!synced || !closed || ::rename(temporary.c_str(), path.c_str()) != 0) {
    const int saved = errno;
    ::unlink(temporary.c_str());
    fail(ErrorKind::Io, "{}: writing failed: {}", path.string(), std::strerror(saved));
  }
}

namespace {

// As Python's expanduser finds it; empty when nobody knows.
std::string home_directory() {
  if (const char* home = std::getenv("HOME")) return home;
  const passwd* user = ::getpwuid(::getuid());
  return user != nullptr ? user->pw_dir : "";
}

}  // namespace

fs::path absolute_path(const std::string& path) {
  check(!path.empty(), ErrorKind::Usage, "path: expected a name, got none");
  fs::path p = path;
  if (!path.empty() && path[0] == '~' && (path.size() == 1 || path[1] == '/')) {
    if (const std::string home = home_directory(); !home.empty()) p = home + path.substr(1);
  }
  p = fs::absolute(p).lexically_normal();
  if (!p.has_filename() && p.has_parent_path() && p != p.root_path()) p = p.parent_path();
  return p;
}

std::string human_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.5 && unit < 4) {
    value /= 1000.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.3g} {}", value, kUnits[unit]);
}

}  // namespace vmla
