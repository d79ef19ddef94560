#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "hub/destination.h"
#include "hub/digest.h"

namespace vmla {
namespace {

// Three lines beside each file: commit, etag, when it was written (Unix time).
struct FileRecord {
  std::string commit;
  std::string etag;
  double time = 0;
};

std::optional<FileRecord> read_record(const fs::path& path) {
  std::error_code ec;
  if (!fs::is_regular_file(path, ec)) return std::nullopt;
  std::istringstream lines(read_file(path, 4096));
  FileRecord record;
  lines >> record.commit >> record.etag >> record.time;
  // A damaged record is none: the file's hash then decides.
  if (!lines || !is_commit(record.commit)) return std::nullopt;
  return record;
}

class FolderDestination final : public Destination {
 public:
  FolderDestination(const HubSettings& settings,
                    const Repository& repository,
                    std::string commit,
                    fs::path directory)
      : directory_(std::move(directory)),
        records_(directory_ / ".cache" / "huggingface" / "download"),
        blobs_(settings.cache / repository.folder() / "blobs"),
        commit_(std::move(commit)) {}

  const fs::path& path() const override { return directory_; }

  std::int64_t present(const std::string& file) const override {
    const auto record = trusted_record(file);
    if (!record || record->commit != commit_) return -1;
    return static_cast<std::int64_t>(fs::file_size(directory_ / file));
  }

  fs::path lock_path(const RemoteFile& file) const override {
    return records_ / (file.path + ".lock");
  }

  // The partial file has a short name, whatever the file's own is.
  FetchTarget target(const RemoteFile& file) const override {
    const fs::path folder = (records_ / file.path).parent_path();
    const std::string name = text_digest(file.path, DigestKind::Sha256).substr(0, 8);
    return {folder / (name + "." + file.etag + ".incomplete"), directory_ / file.path};
  }

  bool adopt(const RemoteFile& file) override {
    if (is_same(file)) {
      publish(file);
      return true;
    }
    // Taken from the cache, the bytes still pass the check of a download.
    std::error_code ec;
    const fs::path blob = blobs_ / file.etag;
    if (fs::is_regular_file(blob, ec)) {
      const fs::path partial = target(file).partial;
      make_parents(partial);
      fs::copy_file(blob, partial, fs::copy_options::overwrite_existing, ec);
      check(!ec, ErrorKind::Io, "{}: cannot be written: {}", partial.string(), ec.message());
    }
    return false;
  }

  void publish(const RemoteFile& file) override {
    mark_folder();
    const double now =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    write_file_atomic(record_path(file.path),
                      fmt::format("{}\n{}\n{:.6f}\n", commit_, file.etag, now));
  }

  void finish() override {}

 private:
  fs::path record_path(const std::string& file) const { return records_ / (file + ".metadata"); }

  // The record, unless the file is gone or was changed after it.
  std::optional<FileRecord> trusted_record(const std::string& file) const {
    struct stat status {};
    if (::stat((directory_ / file).c_str(), &status) != 0 || !S_ISREG(status.st_mode))
      return std::nullopt;
    auto record = read_record(record_path(file));
    // One second for file systems with coarse times.
    if (record && static_cast<double>(status.st_mtim.tv_sec) - 1 > record->time)
      return std::nullopt;
    return record;
  }

  // Whether the file that is there has the content that the hub describes.
  bool is_same(const RemoteFile& file) const {
    const fs::path path = directory_ / file.path;
    std::error_code ec;
    if (!fs::is_regular_file(path, ec)) return false;
    if (file.size >= 0 && static_cast<std::int64_t>(fs::file_size(path)) != file.size) return false;
    if (const auto record = trusted_record(file.path)) return record->etag == file.etag;
    const auto kind = digest_kind(file.etag);
    return kind && file_digest(path, *kind) == file.etag;
  }

  // Keeps the folder out of the user's repositories.
  void mark_folder() {
    std::call_once(marked_, [this] {
      const fs::path ignore = records_.parent_path() / ".gitignore";
      std::error_code ec;
      if (fs::exists(ignore, ec)) return;
      make_parents(ignore);
      write_file_atomic(ignore, "*\n");
    });
  }

  fs::path directory_, records_, blobs_;
  std::string commit_;
  std::once_flag marked_;
};

}  // namespace

std::unique_ptr<Destination> make_folder_destination(const HubSettings& settings,
                                                     const Repository& repository,
                                                     const std::string& commit,
                                                     const fs::path& directory) {
  return std::make_unique<FolderDestination>(settings, repository, commit, directory);
}

}  // namespace vmla
