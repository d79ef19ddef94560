// Where the files of a snapshot go: the shared cache with its blobs and links, or a folder of the
// user's with real files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "hub/fetch.h"
#include "hub/repository.h"
#include "hub/settings.h"

namespace vmla {

// Used by several threads, each with files of its own.
class Destination {
 public:
  virtual ~Destination() = default;

  // What the snapshot is found under.
  virtual const fs::path& path() const = 0;
  // The size of the file that is there for this commit already, known without asking the hub; -1
  // when it has to be asked.
  virtual std::int64_t present(const std::string& file) const = 0;
  virtual fs::path lock_path(const RemoteFile& file) const = 0;
  virtual FetchTarget target(const RemoteFile& file) const = 0;
  // Under the lock. Whether what the hub describes is on disk already and now stands in the
  // snapshot.
  virtual bool adopt(const RemoteFile& file) = 0;
  // Under the lock, after target().content was written.
  virtual void publish(const RemoteFile& file) = 0;
  // When all files are there.
  virtual void finish() = 0;
};

// blobs/<etag>, snapshots/<commit>/<path> -> ../../blobs/<etag>, refs/<revision>.
std::unique_ptr<Destination> make_cache_destination(const HubSettings& settings,
                                                    const Repository& repository,
                                                    const std::string& revision,
                                                    const std::string& commit);

// <directory>/<path>, with what is known of each file in <directory>/.cache/huggingface. Blobs of
// the cache are copied rather than downloaded again.
std::unique_ptr<Destination> make_folder_destination(const HubSettings& settings,
                                                     const Repository& repository,
                                                     const std::string& commit,
                                                     const fs::path& directory);

// Makes the folders above path. Errors: Io.
void make_parents(const fs::path& path);

}  // namespace vmla
