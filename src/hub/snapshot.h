// A repository's files at one revision, brought to the cache or to a folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hub/repository.h"
#include "hub/settings.h"

namespace vmla {

struct SnapshotRequest {
  Repository repository;
  std::string revision = "main";
  fs::path directory;  // empty: the cache
  // Shell patterns over whole paths, in which * also matches a slash ("*.json", "data/*"). Empty
  // include: all files.
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  bool force = false;  // read again what is there already
  int workers = 8;     // files at the same time
};

struct Snapshot {
  fs::path path;
  std::string commit;
  std::vector<std::string> files;  // that were asked for
  std::int64_t bytes = 0;          // of all of them
  std::int64_t fetched_files = 0;  // of which came over the network
  std::int64_t fetched_bytes = 0;  // that came over the network
};

// Only files that miss are read, and what an earlier run left of them is used. The revision is
// recorded (cache) when all files are there. Offline: the cache's snapshot, or an error.
// Errors: Io; Usage for a bad id, revision, endpoint or token, or patterns that match no file.
Snapshot download_snapshot(const SnapshotRequest& request, const HubSettings& settings);

}  // namespace vmla
