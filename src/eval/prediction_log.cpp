#include "eval/prediction_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace vmla {

void remove_torn_line(const fs::path& path) {
  std::error_code ec;
  if (!fs::exists(path, ec)) return;
  const std::string content = read_file(path, std::uint64_t{1} << 36);
  if (content.empty() || content.back() == '\n') return;
  fs::resize_file(path, content.rfind('\n') + 1, ec);  // npos + 1: nothing is left
  check(!ec, ErrorKind::Io, "{}: cannot be shortened: {}", path.string(), ec.message());
}

std::string log_text(const Json& line) {
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

PredictionLog::PredictionLog(fs::path path) : path_(std::move(path)) {
  remove_torn_line(path_);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  check(fd_ >= 0, ErrorKind::Io, "{}: cannot be opened: {}", path_.string(), std::strerror(errno));
}

PredictionLog::~PredictionLog() {
  if (fd_ >= 0) ::close(fd_);
}

void PredictionLog::append(const std::vector<Json>& lines) {
  std::string text;
  for (const auto& line : lines) text += log_text(line);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    check(n > 0, ErrorKind::Io, "{}: writing failed: {}", path_.string(), std::strerror(errno));
    done += static_cast<std::size_t>(n);
  }
  const bool synced = ::fsync(fd_) == 0 || errno == EINVAL;
  check(synced, ErrorKind::Io, "{}: fsync failed: {}", path_.string(), std::strerror(errno));
}

}  // namespace vmla
