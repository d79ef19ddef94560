#include "hub/snapshot.h"

#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/quote.h"
#include "hub/destination.h"
#include "hub/fetch.h"
#include "hub/file_lock.h"
#include "hub/hub_cache.h"
#include "hub/hub_client.h"

namespace vmla {
namespace {

bool matches_any(const std::string& path, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    const std::string whole = !pattern.empty() && pattern.back() == '/' ? pattern + "*" : pattern;
    return ::fnmatch(whole.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
  });
}

std::vector<std::string> chosen_files(const std::vector<std::string>& files,
                                      const SnapshotRequest& request) {
  std::vector<std::string> chosen;
  for (const std::string& file : files) {
    if (!request.include.empty() && !matches_any(file, request.include)) continue;
    if (!matches_any(file, request.exclude)) chosen.push_back(file);
  }
  check(!chosen.empty(),
        ErrorKind::Usage,
        "{}: expected files that --include and --exclude leave, found none among {}",
        request.repository.id,
        files.size());
  return chosen;
}

// Runs act(client, 0 … count - 1) on several threads. The first error ends all of them and is
// thrown.
void in_parallel(std::size_t count,
                 int workers,
                 const HubSettings& settings,
                 std::atomic<bool>& stop,
                 const std::function<void(HubClient&, std::size_t)>& act) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr first;
  const auto work = [&] {
    try {
      HubClient client(settings, stop);
      for (std::size_t i = next++; i < count && !stop.load(); i = next++) act(client, i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!first) first = std::current_exception();
      stop = true;
    }
  };
  std::vector<std::thread> threads;
  const std::size_t most = std::min(count, static_cast<std::size_t>(std::max(1, workers)));
  for (std::size_t i = 1; i < most; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

// One bar over all files.
class ByteBar {
 public:
  ByteBar(bool shown, std::int64_t total) {
    if (shown) bar_.emplace("download", total, "B");
  }
  void advance(std::int64_t bytes, const std::string& file) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (bar_) bar_->advance(bytes, file);
  }

 private:
  std::mutex mutex_;
  std::optional<Progress> bar_;
};

class Download {
 public:
  Download(const SnapshotRequest& request, const HubSettings& settings)
      : request_(request), settings_(settings) {}

  Snapshot run() {
    HubClient client(settings_, stop_);
    const RepoListing listing = client.list(request_.repository, request_.revision);
    result_.commit = listing.commit;
    result_.files = chosen_files(listing.files, request_);
    if (!request_.directory.empty()) drop_client_files();
    to_ = request_.directory.empty()
              ? make_cache_destination(
                    settings_, request_.repository, request_.revision, listing.commit)
              : make_folder_destination(
                    settings_, request_.repository, listing.commit, request_.directory);
    result_.path = to_->path();
    find_missing();
    fetch_missing();
    to_->finish();
    return result_;
  }

 private:
  // Some repositories hold what a client once kept in its folder; here it would replace ours.
  void drop_client_files() {
    std::vector<std::string> kept;
    for (const std::string& file : result_.files) {
      if (file.rfind(".cache/huggingface/", 0) == 0) {
        log_warning("{}: left out, the folder's own records are kept there", quote(file));
      } else {
        kept.push_back(file);
      }
    }
    result_.files = std::move(kept);
  }

  // All descriptions come before the first byte, so that a lack of space shows early.
  void find_missing() {
    std::vector<std::string> unknown;
    for (const std::string& file : result_.files) {
      const std::int64_t size = request_.force ? -1 : to_->present(file);
      if (size < 0) {
        unknown.push_back(file);
      } else {
        result_.bytes += size;
      }
    }
    in_parallel(
        unknown.size(), request_.workers, settings_, stop_, [&](HubClient& client, std::size_t i) {
          const RemoteFile file = client.describe(request_.repository, result_.commit, unknown[i]);
          const FileLock lock(to_->lock_path(file), file.path, stop_);
          const bool adopted = !request_.force && to_->adopt(file);
          const std::lock_guard<std::mutex> guard(mutex_);
          if (adopted) {
            result_.bytes += size_of(file.path);
          } else {
            missing_.push_back(file);
          }
        });
    std::sort(missing_.begin(), missing_.end(), [](const RemoteFile& a, const RemoteFile& b) {
      return a.path < b.path;
    });
  }

  void fetch_missing() {
    if (missing_.empty()) return;
    std::int64_t total = 0, there = 0;
    for (const RemoteFile& file : missing_) {
      const fs::path partial = to_->target(file).partial;
      make_parents(partial);
      std::error_code ec;
      const std::uintmax_t size = fs::file_size(partial, ec);
      total += std::max<std::int64_t>(file.size, 0);
      if (!ec && static_cast<std::int64_t>(size) <= file.size)
        there += static_cast<std::int64_t>(size);
    }
    check_free_space(
        to_->target(missing_.front()).partial.parent_path(), total - there, request_.repository.id);
    ByteBar bar(settings_.progress, total);
    in_parallel(
        missing_.size(), request_.workers, settings_, stop_, [&](HubClient& client, std::size_t i) {
          fetch_one(client, missing_[i], bar);
        });
  }

  void fetch_one(HubClient& client, const RemoteFile& file, ByteBar& bar) {
    const FileLock lock(to_->lock_path(file), file.path, stop_);
    std::int64_t received = 0;
    const bool adopted = !request_.force && to_->adopt(file);
    if (!adopted) {
      const FetchTarget target = to_->target(file);
      make_parents(target.content);
      received = fetch_file(
          client, request_.repository, result_.commit, file, target, [&](std::int64_t bytes) {
            bar.advance(bytes, file.path);
          });
      to_->publish(file);
    }
    const std::lock_guard<std::mutex> guard(mutex_);
    result_.bytes += size_of(file.path);
    result_.fetched_bytes += received;
    result_.fetched_files += received > 0 ? 1 : 0;
  }

  std::int64_t size_of(const std::string& file) const {
    return static_cast<std::int64_t>(fs::file_size(result_.path / file));
  }

  const SnapshotRequest& request_;
  const HubSettings& settings_;
  std::atomic<bool> stop_{false};
  std::unique_ptr<Destination> to_;
  std::vector<RemoteFile> missing_;
  std::mutex mutex_;  // of result_ while threads run
  Snapshot result_;
};

Snapshot offline_snapshot(const SnapshotRequest& request, const HubSettings& settings) {
  check(request.directory.empty(),
        ErrorKind::Io,
        "{}: HF_HUB_OFFLINE forbids to download it to {}",
        request.repository.id,
        request.directory.string());
  const auto path = find_snapshot(settings.cache, request.repository, request.revision);
  check(path.has_value(),
        ErrorKind::Io,
        "{}: expected revision {} in the cache {}, found none, and HF_HUB_OFFLINE forbids to "
        "download it",
        request.repository.id,
        quote(request.revision),
        settings.cache.string());
  Snapshot snapshot;
  snapshot.path = *path;
  snapshot.commit = path->filename().string();
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(*path)) {
    if (entry.is_regular_file()) files.push_back(entry.path().lexically_relative(*path).string());
  }
  std::sort(files.begin(), files.end());
  snapshot.files = chosen_files(files, request);
  for (const std::string& file : snapshot.files)
    snapshot.bytes += static_cast<std::int64_t>(fs::file_size(*path / file));
  return snapshot;
}

}  // namespace

Snapshot download_snapshot(const SnapshotRequest& request, const HubSettings& settings) {
  check(is_hub_id(request.repository.id),
        ErrorKind::Usage,
        "repository: expected an id such as llava-hf/llava-1.5-7b-hf, got {}",
        quote(request.repository.id));
  check(is_revision(request.revision),
        ErrorKind::Usage,
        "revision: expected a branch, tag or commit, got {}",
        quote(request.revision));
  return settings.offline ? offline_snapshot(request, settings) : Download(request, settings).run();
}

}  // namespace vmla
