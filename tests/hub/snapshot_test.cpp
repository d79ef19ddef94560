#include "hub/snapshot.h"

#include <chrono>
#include <fstream>
#include <set>

#include "hub/hub_cache.h"
#include "hub/hub_fixture.h"

namespace vmla {
namespace {

using test::fails_with;
using test::HubFixture;
using test::HubReply;
using test::HubRequest;
using test::slurp;

using HubSnapshot = HubFixture;

TEST_F(HubSnapshot, FillsTheCacheAsTheHubsOwnClientDoes) {
  const Snapshot got = download();
  EXPECT_EQ(got.path, snapshot());
  EXPECT_EQ(got.commit, hub.commit);
  EXPECT_EQ(got.files.size(), 3U);
  EXPECT_EQ(got.fetched_files, 3);
  EXPECT_EQ(got.fetched_bytes, got.bytes);
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_EQ(slurp(repository() / "refs" / "main"), hub.commit);
  EXPECT_EQ(fs::read_symlink(snapshot() / "config.json"),
            "../../blobs/" + hub.files.at("config.json").etag);
  EXPECT_EQ(fs::read_symlink(snapshot() / "sub folder/é+%.txt"),
            "../../../blobs/" + hub.files.at("sub folder/é+%.txt").etag);
  EXPECT_EQ(slurp(blob("model.safetensors")), hub.files.at("model.safetensors").content);
  EXPECT_FALSE(fs::exists(partial("model.safetensors")));
  EXPECT_TRUE(fs::exists(settings.cache / ".locks/models--org--name" /
                         (hub.files.at("config.json").etag + ".lock")));
  EXPECT_EQ(resolve_model("org/name", "main", settings), snapshot());
}

TEST_F(HubSnapshot, SecondRunAsksForNoFile) {
  download();
  const std::size_t before = hub.requests().size();
  const Snapshot again = download();
  EXPECT_EQ(again.fetched_files, 0);
  EXPECT_EQ(again.bytes, 300000 + 23 + 5);
  EXPECT_EQ(hub.requests().size(), before + 1);  // the listing
}

TEST_F(HubSnapshot, NewCommitSharesBlobs) {
  download();
  hub.commit = std::string(40, 'b');
  add_small("config.json", "{}");
  const std::size_t before = hub.reads().size();
  EXPECT_EQ(download().fetched_files, 1);
  EXPECT_EQ(hub.reads().size(), before + 1);
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_EQ(slurp(repository() / "refs" / "main"), hub.commit);
}

TEST_F(HubSnapshot, RevisionsWithSlashesAndCommits) {
  request.revision = "refs/pr/1";
  download();
  EXPECT_EQ(slurp(repository() / "refs/refs/pr/1"), hub.commit);
  EXPECT_EQ(hub.requests().front().target, "/api/models/org/name/revision/refs%2Fpr%2F1");
  request.revision = hub.commit;
  download();
  EXPECT_FALSE(fs::exists(repository() / "refs" / hub.commit));
}

TEST_F(HubSnapshot, DatasetsHaveTheirOwnPlace) {
  request.repository.type = RepoType::Dataset;
  EXPECT_EQ(download().path, settings.cache / "datasets--org--name/snapshots" / hub.commit);
  EXPECT_EQ(hub.requests().front().target, "/api/datasets/org/name/revision/main");
  EXPECT_EQ(hub.reads().front().target.rfind("/datasets/org/name/resolve/", 0), 0U);
  EXPECT_EQ(resolve_dataset("org/name", "main", settings),
            settings.cache / "datasets--org--name/snapshots" / hub.commit);
  EXPECT_TRUE(fails_with(ErrorKind::Io,
                         {"vlm-mla download --repo_id org/other --repo_type dataset --revision v1"},
                         [&] { resolve_dataset("org/other", "v1", settings); }));
}

TEST_F(HubSnapshot, ForceReadsAgain) {
  download();
  request.force = true;
  EXPECT_EQ(download().fetched_files, 3);
  EXPECT_TRUE(has_all(snapshot()));
}

TEST_F(HubSnapshot, DamagedBlobIsReplaced) {
  download();
  fs::resize_file(blob("model.safetensors"), 10);
  fs::remove(snapshot() / "model.safetensors");
  EXPECT_EQ(download().fetched_files, 1);
  EXPECT_TRUE(has_all(snapshot()));
}

TEST_F(HubSnapshot, PatternsChooseFiles) {
  add_small("data/a/x.json", "1");
  add_small("data/y.txt", "2");
  const auto names = [&](std::vector<std::string> include, std::vector<std::string> exclude) {
    request.include = std::move(include);
    request.exclude = std::move(exclude);
    const auto files = download().files;
    return std::set<std::string>(files.begin(), files.end());
  };
  using Set = std::set<std::string>;
  EXPECT_EQ(names({"*.json"}, {}), (Set{"config.json", "data/a/x.json"}));
  EXPECT_EQ(names({"data/"}, {"*.txt"}), (Set{"data/a/x.json"}));
  EXPECT_EQ(names({}, {"data/*", "[ms]*"}), (Set{"config.json"}));
  EXPECT_TRUE(fails_with(
      ErrorKind::Usage, {"org/name", "--include", "among 5"}, [&] { names({"*.bin"}, {}); }));
}

TEST_F(HubSnapshot, WithoutLinksTheSnapshotHoldsTheFiles) {
  settings.symlinks = false;
  download();
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_FALSE(fs::is_symlink(snapshot() / "config.json"));
  EXPECT_EQ(download().fetched_files, 0);
}

TEST_F(HubSnapshot, EmptyFilesAndFilesWithTheSameBytes) {
  add_small("empty", "");
  add_large("copy.safetensors", hub.files.at("model.safetensors").content);
  download();
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_EQ(fs::read_symlink(snapshot() / "copy.safetensors"),
            fs::read_symlink(snapshot() / "model.safetensors"));
}

TEST_F(HubSnapshot, FolderHoldsRealFilesAndRecords) {
  request.directory = dir / "model";
  const Snapshot got = download();
  EXPECT_EQ(got.path, dir / "model");
  EXPECT_TRUE(has_all(dir / "model"));
  EXPECT_FALSE(fs::is_symlink(dir / "model/config.json"));
  const std::string record = slurp(dir / "model/.cache/huggingface/download/config.json.metadata");
  EXPECT_EQ(record.rfind(hub.commit + "\n" + hub.files.at("config.json").etag + "\n", 0), 0U);
  EXPECT_EQ(slurp(dir / "model/.cache/huggingface/.gitignore"), "*\n");
  EXPECT_FALSE(fs::exists(settings.cache));
  const std::size_t before = hub.requests().size();
  EXPECT_EQ(download().fetched_files, 0);
  EXPECT_EQ(hub.requests().size(), before + 1);
}

TEST_F(HubSnapshot, FolderKeepsWhatIsEqualAndReplacesWhatIsNot) {
  request.directory = dir / "model";
  download();
  // The same bytes without a record are recognised by their hash …
  fs::remove(dir / "model/.cache/huggingface/download/model.safetensors.metadata");
  // … and an edited file by its time and hash.
  dir.write("model/config.json", "{\"model_type\": \"LLAVA\"}");
  fs::last_write_time(dir / "model/config.json",
                      fs::file_time_type::clock::now() + std::chrono::seconds(10));
  EXPECT_EQ(download().fetched_files, 1);
  EXPECT_TRUE(has_all(dir / "model"));
  // A new commit with the same files reads none.
  hub.commit = std::string(40, 'c');
  EXPECT_EQ(download().fetched_files, 0);
  EXPECT_EQ(
      slurp(dir / "model/.cache/huggingface/download/config.json.metadata").rfind(hub.commit, 0),
      0U);
}

TEST_F(HubSnapshot, FolderTakesBlobsFromTheCache) {
  download();
  const std::size_t before = hub.reads().size();
  request.directory = dir / "model";
  EXPECT_EQ(download().fetched_bytes, 0);
  EXPECT_EQ(hub.reads().size(), before);
  EXPECT_TRUE(has_all(dir / "model"));
  // A damaged one does not get through.
  std::string bytes = hub.files.at("model.safetensors").content;
  bytes[5] = static_cast<char>(bytes[5] + 1);
  std::ofstream(blob("model.safetensors"), std::ios::binary) << bytes;
  request.directory = dir / "other";
  EXPECT_EQ(download().fetched_files, 1);
  EXPECT_TRUE(has_all(dir / "other"));
}

TEST_F(HubSnapshot, FolderKeepsItsOwnRecords) {
  request.directory = dir / "model";
  add_small(".cache/huggingface/download/config.json.metadata", "forged");
  EXPECT_EQ(download().files.size(), 3U);
  EXPECT_NE(slurp(dir / "model/.cache/huggingface/download/config.json.metadata"), "forged");
}

TEST_F(HubSnapshot, OfflineUsesTheCacheOnly) {
  settings.offline = true;
  EXPECT_TRUE(
      fails_with(ErrorKind::Io,
                 {"org/name", "revision \"main\"", "HF_HUB_OFFLINE", settings.cache.string()},
                 [&] { download(); }));
  settings.offline = false;
  download();
  const std::size_t before = hub.requests().size();
  settings.offline = true;
  const Snapshot got = download();
  EXPECT_EQ(got.path, snapshot());
  EXPECT_EQ(got.files.size(), 3U);
  EXPECT_EQ(got.bytes, 300000 + 23 + 5);
  request.directory = dir / "model";
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"HF_HUB_OFFLINE"}, [&] { download(); }));
  EXPECT_EQ(hub.requests().size(), before);
}

TEST_F(HubSnapshot, RefusesBadNames) {
  for (const char* id : {"", "../x", "a/b/c", "org/na me", "org/name?x=1", "-- x"}) {
    request.repository.id = id;
    EXPECT_TRUE(fails_with(ErrorKind::Usage, {"repository"}, [&] { download(); })) << id;
  }
  request.repository.id = "org/name";
  for (const char* revision : {"", "../../x", "/etc", "a b"}) {
    request.revision = revision;
    EXPECT_TRUE(fails_with(ErrorKind::Usage, {"revision"}, [&] { download(); })) << revision;
  }
  request.revision = "main";
  settings.token = "hf_secret\r\nX-Evil: 1";
  EXPECT_TRUE(fails_with(ErrorKind::Usage, {"token"}, [&] { download(); }));
  settings.token = "";
  settings.endpoint = "ftp://127.0.0.1";
  EXPECT_TRUE(fails_with(ErrorKind::Usage, {"endpoint", "ftp://"}, [&] { download(); }));
  EXPECT_TRUE(hub.requests().empty());
}

}  // namespace
}  // namespace vmla
