// One file of a repository brought to disk: resumed where an earlier attempt ended, and named only
// when its length and hash are the hub's.
#pragma once

#include <cstdint>
#include <functional>

#include "hub/hub_client.h"

namespace vmla {

struct FetchTarget {
  fs::path partial;  // grows; kept when the connection is lost or the disk is full, so that the
                     // next run goes on from it
  fs::path content;  // appears by a rename, after fsync
};

// Returns the bytes that came over the network. advanced is told of bytes as they arrive (and of
// those that an earlier run left, at once); a negative number takes some back. The caller holds the
// file's lock. Errors: Io; a wrong length or hash also removes the partial file.
std::int64_t fetch_file(HubClient& client,
                        const Repository& repository,
                        const std::string& commit,
                        const RemoteFile& file,
                        const FetchTarget& target,
                        const std::function<void(std::int64_t)>& advanced);

// Errors: Io when the file system of directory has less than bytes to give. Silent where it cannot
// tell.
void check_free_space(const fs::path& directory, std::int64_t bytes, const std::string& subject);

}  // namespace vmla
