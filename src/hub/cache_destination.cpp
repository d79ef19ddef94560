#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "hub/destination.h"

namespace vmla {
namespace {

class CacheDestination final : public Destination {
 public:
  CacheDestination(const HubSettings& settings,
                   const Repository& repository,
                   std::string revision,
                   std::string commit)
      : repository_(settings.cache / repository.folder()),
        locks_(settings.cache / ".locks" / repository.folder()),
        snapshot_(repository_ / "snapshots" / commit),
        revision_(std::move(revision)),
        commit_(std::move(commit)),
        symlinks_(settings.symlinks) {}

  const fs::path& path() const override { return snapshot_; }

  std::int64_t present(const std::string& file) const override {
    std::error_code ec;
    const fs::path pointer = snapshot_ / file;
    if (!fs::is_regular_file(pointer, ec)) return -1;
    return static_cast<std::int64_t>(fs::file_size(pointer));
  }

  fs::path lock_path(const RemoteFile& file) const override {
    return locks_ / (file.etag + ".lock");
  }

  FetchTarget target(const RemoteFile& file) const override {
    return {repository_ / "blobs" / (file.etag + ".incomplete"), blob(file)};
  }

  bool adopt(const RemoteFile& file) override {
    std::error_code ec;
    if (!fs::is_regular_file(blob(file), ec)) return false;
    // A blob of another length is a damaged one.
    if (file.size >= 0 && static_cast<std::int64_t>(fs::file_size(blob(file))) != file.size)
      return false;
    link(file, false);
    return true;
  }

  void publish(const RemoteFile& file) override { link(file, true); }

  void finish() override {
    if (revision_ == commit_) return;
    const fs::path ref = repository_ / "refs" / revision_;
    std::error_code ec;
    if (fs::is_regular_file(ref, ec) && read_file(ref, 4096) == commit_) return;
    make_parents(ref);
    write_file_atomic(ref, commit_);
  }

 private:
  fs::path blob(const RemoteFile& file) const { return repository_ / "blobs" / file.etag; }

  // Where there are no links the snapshot holds the file itself: moved when the blob is new, else
  // copied, since another snapshot may point to it.
  void link(const RemoteFile& file, bool is_new) {
    const fs::path pointer = snapshot_ / file.path;
    make_parents(pointer);
    const fs::path temporary = pointer.string() + ".tmp-" + std::to_string(::getpid());
    std::error_code ec;
    fs::remove(temporary, ec);
    if (symlinks_) {
      fs::create_symlink(blob(file).lexically_relative(pointer.parent_path()), temporary, ec);
    }
    if (!symlinks_ || ec) {
      if (is_new) {
        fs::rename(blob(file), temporary, ec);
      } else {
        fs::copy_file(blob(file), temporary, ec);
      }
    }
    if (!ec) fs::rename(temporary, pointer, ec);
    check(!ec, ErrorKind::Io, "{}: cannot be made: {}", pointer.string(), ec.message());
  }

  fs::path repository_, locks_, snapshot_;
  std::string revision_, commit_;
  bool symlinks_;
};

}  // namespace

void make_parents(const fs::path& path) {
  std::error_code ec;
  fs::create_directories(path.parent_path(), ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", path.parent_path().string(), ec.message());
}

std::unique_ptr<Destination> make_cache_destination(const HubSettings& settings,
                                                    const Repository& repository,
                                                    const std::string& revision,
                                                    const std::string& commit) {
  return std::make_unique<CacheDestination>(settings, repository, revision, commit);
}

}  // namespace vmla
