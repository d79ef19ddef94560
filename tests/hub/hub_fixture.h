// A small repository on a fake hub, and settings that reach it quickly.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "hub/digest.h"
#include "hub/snapshot.h"
#include "support/expect_error.h"
#include "support/fake_hub.h"
#include "support/temp_dir.h"

namespace vmla::test {

// Bytes that differ everywhere, so that a shift or a repetition shows.
inline std::string some_bytes(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 12345;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

struct HubFixture : ::testing::Test {
  HubFixture() {
    settings.cache = dir / "cache";
    settings.endpoint = hub.endpoint();
    settings.token = "hf_secret";
    settings.proxy = false;
    settings.progress = false;
    settings.etag_timeout = settings.download_timeout = 5;
    settings.retry.first_wait = 0.01;
    settings.retry.longest_wait = 0.02;
    settings.retry.attempts = 3;
    request.repository.id = "org/name";
    add_small("config.json", "{\"model_type\": \"llava\"}");
    add_large("model.safetensors", some_bytes(300000));
    add_small("sub folder/é+%.txt", "text\n");
  }

  void add_small(const std::string& path, const std::string& content) {
    hub.files[path] = {content, text_digest(content, DigestKind::GitSha1), false};
  }
  void add_large(const std::string& path, const std::string& content) {
    hub.files[path] = {content, text_digest(content, DigestKind::Sha256), true};
  }

  Snapshot download() { return download_snapshot(request, settings); }

  fs::path repository() const { return settings.cache / "models--org--name"; }
  fs::path snapshot() const { return repository() / "snapshots" / hub.commit; }
  fs::path blob(const std::string& path) const {
    return repository() / "blobs" / hub.files.at(path).etag;
  }
  fs::path partial(const std::string& path) const { return blob(path).string() + ".incomplete"; }

  // Every file under its name with the hub's bytes.
  ::testing::AssertionResult has_all(const fs::path& folder) const {
    for (const auto& [path, file] : hub.files) {
      if (!fs::exists(folder / path)) return ::testing::AssertionFailure() << path << " is missing";
      if (slurp(folder / path) != file.content)
        return ::testing::AssertionFailure() << path << " has other bytes";
    }
    return ::testing::AssertionSuccess();
  }
  // Nothing under the names that count, and no ref.
  ::testing::AssertionResult has_none(const std::string& path) const {
    for (const fs::path& name : {snapshot() / path, blob(path), repository() / "refs" / "main"}) {
      if (fs::exists(fs::symlink_status(name)))
        return ::testing::AssertionFailure() << name << " is there";
    }
    return ::testing::AssertionSuccess();
  }

  // What the last request for the large file's bytes asked for.
  std::string last_range() const {
    std::string range;
    for (const HubRequest& read : hub.reads()) {
      if (read.target.rfind("/cdn/", 0) == 0) range = read.header("range");
    }
    return range;
  }

  TempDir dir;
  FakeHub hub;
  HubSettings settings;
  SnapshotRequest request;
};

}  // namespace vmla::test
