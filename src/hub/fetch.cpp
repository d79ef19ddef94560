#include "hub/fetch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/quote.h"
#include "hub/backoff.h"
#include "hub/digest.h"

namespace vmla {
namespace {

// A file that is written at its end, or from the start again.
class PartialFile {
 public:
  explicit PartialFile(fs::path path) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    check(
        fd_ >= 0, ErrorKind::Io, "{}: cannot be opened: {}", path_.string(), std::strerror(errno));
    struct stat status {};
    const bool known = ::fstat(fd_, &status) == 0;
    size_ = known ? static_cast<std::int64_t>(status.st_size) : 0;
  }
  ~PartialFile() { ::close(fd_); }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  std::int64_t size() const { return size_; }

  void clear() {
    const bool cleared = ::ftruncate(fd_, 0) == 0;
    check(cleared, ErrorKind::Io, "{}: {}", path_.string(), std::strerror(errno));
    size_ = 0;
  }

  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), size_);
      if (n < 0 && errno == EINTR) continue;
      check(n > 0,
            ErrorKind::Io,
            "{}: writing failed: {}",
            path_.string(),
            std::strerror(n == 0 ? ENOSPC : errno));
      size_ += n;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  void rename_to(const fs::path& target) {
    const bool synced = ::fsync(fd_) == 0 || errno == EINVAL;
    const bool done = synced && ::rename(path_.c_str(), target.c_str()) == 0;
    check(
        done, ErrorKind::Io, "{}: cannot be completed: {}", target.string(), std::strerror(errno));
    sync_path(target.parent_path());
  }

 private:
  fs::path path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
};

struct ContentRange {
  std::int64_t begin = -1;
  std::int64_t total = -1;  // -1 where it is "*"
};

// "bytes 5-99/100"
ContentRange content_range(const HttpReply& reply) {
  const std::string text = reply.header("content-range");
  ContentRange range;
  if (text.rfind("bytes ", 0) != 0) return range;
  const char* end = text.data() + text.size();
  std::from_chars(text.data() + 6, end, range.begin);
  if (const std::size_t slash = text.find('/'); slash != std::string::npos)
    std::from_chars(text.data() + slash + 1, end, range.total);
  return range;
}

class Fetch {
 public:
  Fetch(HubClient& client,
        const Repository& repository,
        const std::string& commit,
        const RemoteFile& file,
        const FetchTarget& target,
        const std::function<void(std::int64_t)>& advanced)
      : client_(client),
        repository_(repository),
        commit_(commit),
        file_(file),
        target_(target),
        advanced_(advanced),
        partial_(target.partial),
        size_(file.size) {}

  std::int64_t run() {
    try {
      fetch();
    } catch (...) {
      std::error_code ec;
      if (partial_.size() == 0) fs::remove(target_.partial, ec);
      throw;
    }
    return received_;
  }

 private:
  void fetch() {
    if (size_ >= 0 && partial_.size() > size_) partial_.clear();
    const bool resumed = partial_.size() > 0;
    advanced_(partial_.size());
    read_all();
    std::string problem = difference();
    if (!problem.empty() && resumed) {
      // What an earlier run left may be at fault; what this one reads from the start is not.
      log_warning("{}; reading it once more from the start", problem);
      restart();
      read_all();
      problem = difference();
    }
    if (!problem.empty()) give_up(problem);
    partial_.rename_to(target_.content);
  }

  void restart() {
    advanced_(-partial_.size());
    partial_.clear();
  }

  [[noreturn]] void give_up(const std::string& problem) {
    std::error_code ec;
    fs::remove(target_.partial, ec);
    fail(ErrorKind::Io, "{}", problem);
  }

  // Reads until the file has its size, over as many connections as that takes.
  void read_all() {
    Backoff backoff(client_.settings().retry, file_.path, client_.stop());
    complete_ = false;
    std::int64_t longest = partial_.size();
    while (size_ < 0 ? !complete_ : partial_.size() < size_) {
      check_free_space(
          target_.partial.parent_path(), size_ < 0 ? 0 : size_ - partial_.size(), file_.path);
      begin_ = partial_.size();
      first_ = true;
      HttpReply reply = client_.read(
          repository_, commit_, file_.path, begin_, [this](const HttpReply& r, std::string_view b) {
            take(r, b);
          });
      // Not just any bytes: a server that knows no ranges sends the same ones again and again.
      if (partial_.size() > longest) backoff.reset();
      longest = std::max(longest, partial_.size());
      if (reply.ok()) {
        // A reply without a length ends where the connection ends.
        const bool has_length =
            !reply.header("content-length").empty() || !reply.header("transfer-encoding").empty();
        complete_ = has_length;
        if (size_ < 0 ? complete_ : partial_.size() == size_) break;
        reply.failure = fmt::format("the connection ended after {} bytes", partial_.size());
        reply.transient = true;
      } else if (reply.status == 416 && begin_ > 0) {
        restart();
        continue;
      }
      if (!backoff.wait(reply)) {
        if (partial_.size() > 0 && !client_.stop().load()) {
          log_warning("{}: {} of {} bytes are kept; the same command goes on from there",
                      file_.path,
                      partial_.size(),
                      size_ < 0 ? std::string("unknown") : std::to_string(size_));
        }
        client_.refuse(reply, repository_, commit_, file_.path);
      }
    }
  }

  void take(const HttpReply& reply, std::string_view bytes) {
    if (!reply.ok()) return;
    if (first_) open_reply(reply);
    first_ = false;
    const auto count = static_cast<std::int64_t>(bytes.size());
    if (size_ >= 0 && partial_.size() + count > size_) {
      give_up(fmt::format("{}: expected {} bytes, the server sends more", file_.path, size_));
    }
    partial_.append(bytes);
    received_ += count;
    advanced_(count);
  }

  // Whether the reply is what was asked for: a continuation, or the whole file where the server
  // knows no ranges.
  void open_reply(const HttpReply& reply) {
    const std::string encoding = reply.header("content-encoding");
    if (!encoding.empty() && encoding != "identity") {
      give_up(fmt::format(
          "{}: expected plain bytes, got content encoding {}", file_.path, quote(encoding)));
    }
    std::optional<std::int64_t> total;
    if (reply.status == 206) {
      const ContentRange range = content_range(reply);
      if (range.begin != begin_) {
        give_up(fmt::format("{}: expected bytes from {} on, got range {}",
                            file_.path,
                            begin_,
                            quote(reply.header("content-range"))));
      }
      if (range.total >= 0) total = range.total;
    } else {
      if (begin_ > 0) restart();
      total = reply.number("content-length");
    }
    if (size_ >= 0 && total && *total != size_) {
      give_up(fmt::format("{}: expected {} bytes, the server has {}", file_.path, size_, *total));
    }
  }

  // What is wrong with the bytes on disk; empty when nothing is.
  std::string difference() const {
    if (size_ >= 0 && partial_.size() != size_)
      return fmt::format("{}: expected {} bytes, got {}", file_.path, size_, partial_.size());
    const auto kind = digest_kind(file_.etag);
    if (!kind) {
      log_warning("{}: its ETag {} is no hash, so that only the length was checked",
                  file_.path,
                  quote(file_.etag));
      return {};
    }
    const std::string digest = file_digest(target_.partial, *kind);
    if (digest == file_.etag) return {};
    return fmt::format("{}: expected {} {}, got {}",
                       file_.path,
                       *kind == DigestKind::Sha256 ? "SHA-256" : "git SHA-1",
                       file_.etag,
                       digest);
  }

  HubClient& client_;
  const Repository& repository_;
  const std::string& commit_;
  const RemoteFile& file_;
  const FetchTarget& target_;
  const std::function<void(std::int64_t)>& advanced_;
  PartialFile partial_;
  std::int64_t size_;          // expected; -1 unknown
  std::int64_t received_ = 0;  // over the network, all attempts
  std::int64_t begin_ = 0;     // where the present attempt starts
  bool first_ = true;          // no byte of the present attempt was taken yet
  bool complete_ = false;      // the last reply was whole; decides only when size_ is unknown
};

}  // namespace

std::int64_t fetch_file(HubClient& client,
                        const Repository& repository,
                        const std::string& commit,
                        const RemoteFile& file,
                        const FetchTarget& target,
                        const std::function<void(std::int64_t)>& advanced) {
  return Fetch(client, repository, commit, file, target, advanced).run();
}

void check_free_space(const fs::path& directory, std::int64_t bytes, const std::string& subject) {
  struct statvfs status {};
  if (::statvfs(directory.c_str(), &status) != 0 || status.f_blocks == 0) return;
  const std::uint64_t free = std::uint64_t{status.f_bavail} * status.f_frsize;
  check(bytes <= 0 || static_cast<std::uint64_t>(bytes) <= free,
        ErrorKind::Io,
        "{}: expected {} of free space in {}, found {}",
        subject,
        human_bytes(static_cast<std::uint64_t>(bytes)),
        directory.string(),
        human_bytes(free));
}

}  // namespace vmla
