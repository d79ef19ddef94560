#include "hub/hub_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::TempDir;

using Values = std::map<std::string, std::string>;

// Sets variables for one test; all others that matter here are unset.
class Environment {
 public:
  explicit Environment(const Values& values) {
    for (const char* name : {"HF_HUB_CACHE",
                             "HUGGINGFACE_HUB_CACHE",
                             "HF_HOME",
                             "XDG_CACHE_HOME",
                             "HF_HUB_OFFLINE",
                             "TRANSFORMERS_OFFLINE",
                             "HOME",
                             "VMLA_TEST_ROOT"}) {
      const char* old = std::getenv(name);
      old_[name] = old == nullptr ? std::nullopt : std::optional<std::string>(old);
      ::unsetenv(name);
    }
    for (const auto& [name, value] : values) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const auto& [name, value] : old_) {
      if (value.has_value()) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::map<std::string, std::optional<std::string>> old_;
};

fs::path cache_with(const Values& values) {
  const Environment environment(values);
  return hub_settings().cache;
}

TEST(HubSettings, CacheDirectory) {
  EXPECT_EQ(cache_with({{"HOME", "/h"}}), "/h/.cache/huggingface/hub");
  EXPECT_EQ(cache_with({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}), "/x/huggingface/hub");
  EXPECT_EQ(cache_with({{"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "/hf/"}}), "/hf/hub");
  EXPECT_EQ(cache_with({{"HF_HOME", "/hf"}, {"HUGGINGFACE_HUB_CACHE", "/old"}}), "/old");
  EXPECT_EQ(cache_with({{"HUGGINGFACE_HUB_CACHE", "/old"}, {"HF_HUB_CACHE", "/new"}}), "/new");
  EXPECT_EQ(cache_with({{"HOME", "/h"}, {"HF_HOME", ""}, {"HF_HUB_CACHE", ""}}),
            "/h/.cache/huggingface/hub");
}

TEST(HubSettings, ExpandsHomeAndVariables) {
  EXPECT_EQ(cache_with({{"HOME", "/h"}, {"HF_HOME", "~/models"}}), "/h/models/hub");
  EXPECT_EQ(cache_with({{"VMLA_TEST_ROOT", "/r"}, {"HF_HUB_CACHE", "$VMLA_TEST_ROOT/a"}}), "/r/a");
  EXPECT_EQ(cache_with({{"VMLA_TEST_ROOT", "/r"}, {"HF_HUB_CACHE", "/x${VMLA_TEST_ROOT}y"}}),
            "/x/ry");
  EXPECT_EQ(cache_with({{"HF_HUB_CACHE", "/x/$VMLA_TEST_ROOT/$/${"}}), "/x/$VMLA_TEST_ROOT/$/${");
}

TEST(HubSettings, Offline) {
  for (const char* yes : {"1", "ON", "on", "Yes", "TRUE", "true"}) {
    const Environment environment(Values{{"HF_HUB_OFFLINE", yes}});
    EXPECT_TRUE(hub_settings().offline) << yes;
  }
  for (const char* no : {"", "0", "off", "no", "false", "2"}) {
    const Environment environment(Values{{"HF_HUB_OFFLINE", no}});
    EXPECT_FALSE(hub_settings().offline) << no;
  }
  const Environment environment(Values{{"TRANSFORMERS_OFFLINE", "1"}});
  EXPECT_TRUE(hub_settings().offline);
}

const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";

// The layout that the hub's own client makes: snapshots hold links to blobs.
void fill_cache(const TempDir& dir) {
  const std::string repository = "models--org--name/";
  dir.write(repository + "blobs/aa", "{}");
  dir.write(repository + "refs/main", kCommit);
  dir.write(repository + "refs/refs/pr/1", kCommit + "\n");
  dir.write(repository + "refs/broken", "not a commit");
  dir.write(repository + "refs/gone", std::string(40, 'f'));
  fs::create_directories(dir / (repository + "snapshots/" + kCommit));
  fs::create_symlink("../../blobs/aa",
                     dir / (repository + "snapshots/" + kCommit + "/config.json"));
  dir.write("models--single/refs/main", kCommit);
  dir.write("models--single/snapshots/" + kCommit + "/README.md", "");
}

TEST(ResolveModel, FindsSnapshots) {
  const TempDir dir;
  fill_cache(dir);
  const Environment environment(Values{{"HF_HUB_CACHE", dir.path().string()}});
  const fs::path snapshot = dir / ("models--org--name/snapshots/" + kCommit);
  EXPECT_EQ(resolve_model("org/name"), snapshot);
  EXPECT_EQ(resolve_model("org/name", "refs/pr/1"), snapshot);
  EXPECT_EQ(resolve_model("org/name", kCommit), snapshot);
}

TEST(ResolveModel, LocalDirectoryComesFirst) {
  const TempDir dir;
  const Environment environment(Values{{"HOME", dir.path().string()}});
  dir.write("model/config.json", "{}");
  dir.write("empty/x", "");
  EXPECT_EQ(resolve_model((dir / "model").string()), dir / "model");
  EXPECT_EQ(resolve_model((dir / "model/").string()), dir / "model");
  EXPECT_EQ(resolve_model("~/model"), dir / "model");
  EXPECT_TRUE(fails_with(ErrorKind::Io,
                         {"empty: expected a model directory with config.json"},
                         [&] { resolve_model((dir / "empty").string()); }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"got a file"}, [&] { resolve_model((dir / "empty/x").string()); }));
}

TEST(ResolveModel, SaysWhereItLookedAndWhatHelps) {
  const TempDir dir;
  fill_cache(dir);
  const Environment environment(Values{{"HF_HUB_CACHE", dir.path().string()}});
  EXPECT_TRUE(
      fails_with(ErrorKind::Io,
                 {"org/other", dir.path().string(), "run: vlm-mla download --repo_id org/other"},
                 [] { resolve_model("org/other"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"org/name", "revision \"v2\"", "models--org--name"}, [] {
    resolve_model("org/name", "v2");
  }));
  EXPECT_TRUE(
      fails_with(ErrorKind::Io, {"revision \"gone\""}, [] { resolve_model("org/name", "gone"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"refs/broken", "40 hex digits"}, [] {
    resolve_model("org/name", "broken");
  }));
  EXPECT_TRUE(
      fails_with(ErrorKind::Io, {"config.json", "incomplete"}, [] { resolve_model("single"); }));
  for (const char* bad : {"",
                          "/no/such/dir",
                          "a/b/c",
                          "../x",
                          "a/../b",
                          "org/",
                          "name with space",
                          "a--b/c",
                          ".hidden"}) {
    EXPECT_TRUE(fails_with(ErrorKind::Io, {"found neither"}, [&] { resolve_model(bad); })) << bad;
  }
  for (const char* bad : {"", "../../x", "/etc"}) {
    EXPECT_TRUE(fails_with(ErrorKind::Usage, {"revision"}, [&] { resolve_model("org/name", bad); }))
        << bad;
  }
}

TEST(ResolveModel, NamesTheOfflineSwitch) {
  const TempDir dir;
  const Environment environment(
      Values{{"HF_HUB_CACHE", dir.path().string()}, {"HF_HUB_OFFLINE", "1"}});
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"org/other", "HF_HUB_OFFLINE"}, [] { resolve_model("org/other"); }));
}

}  // namespace
}  // namespace vmla
