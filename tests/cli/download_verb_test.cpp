// The download verbs as a user runs them, against a hub on the loopback interface.
#include <gtest/gtest.h>

#include "base/json.h"
#include "hub/digest.h"
#include "support/fake_hub.h"
#include "support/run_command.h"
#include "support/temp_dir.h"

namespace vmla::test {
namespace {

struct DownloadVerb : ::testing::Test {
  DownloadVerb() {
    add("config.json", R"({"architectures": ["LlavaForConditionalGeneration"]})");
    add("tokenizer.json", "{}");
    add("notes.txt", "notes");
  }
  void add(const std::string& path, const std::string& content) {
    hub.files[path] = {content, text_digest(content, DigestKind::GitSha1), false};
  }
  CommandResult run(std::vector<std::string> arguments, std::vector<std::string> more = {}) const {
    std::vector<std::string> env = {"HF_ENDPOINT=" + hub.endpoint() + "/",
                                    "HF_HOME=" + dir.path().string(),
                                    "HF_HUB_CACHE=" + (dir / "cache").string(),
                                    "HF_TOKEN=hf_env",
                                    "HF_HUB_DISABLE_IMPLICIT_TOKEN=0",
                                    "HF_HUB_OFFLINE=0",
                                    "TRANSFORMERS_OFFLINE=0",
                                    "no_proxy=127.0.0.1,localhost"};
    env.insert(env.end(), more.begin(), more.end());
    return run_vlm_mla(std::move(arguments), {}, env);
  }
  std::string authorization() const { return hub.requests().back().header("authorization"); }

  TempDir dir;
  FakeHub hub;
};

TEST_F(DownloadVerb, FillsTheCacheAndOtherVerbsFindIt) {
  const auto before = run({"inspect", "org/name"});
  EXPECT_EQ(before.exit_code, 3);
  EXPECT_NE(before.err.find("run: vlm-mla download --repo_id org/name"), std::string::npos);

  const auto result = run({"download", "--repo_id", "org/name", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const Json json = parse_json(result.out, "stdout");
  EXPECT_EQ(json["repo_id"], "org/name");
  EXPECT_EQ(json["repo_type"], "model");
  EXPECT_EQ(json["revision"], "main");
  EXPECT_EQ(json["commit"], hub.commit);
  EXPECT_EQ(json["path"], (dir / "cache/models--org--name/snapshots").string() + "/" + hub.commit);
  EXPECT_EQ(json["files"], Json({"config.json", "notes.txt", "tokenizer.json"}));
  EXPECT_EQ(json["fetched_files"], 3);
  EXPECT_EQ(json["fetched_bytes"], json["bytes"]);
  EXPECT_EQ(authorization(), "Bearer hf_env");
  const auto after = run({"inspect", "org/name"});
  EXPECT_EQ(after.err.find("download"), std::string::npos) << after.err;
}

TEST_F(DownloadVerb, OriginalCommandLine) {
  const std::string folder = (dir / "model").string();
  const auto result = run({"download",
                           "--repo_id",
                           "org/name",
                           "--local_dir",
                           folder,
                           "--revision",
                           "refs/pr/1",
                           "--token",
                           "hf_flag"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("[ok] downloaded org/name"), std::string::npos);
  EXPECT_NE(result.out.find("-> " + folder + "\n"), std::string::npos);
  EXPECT_EQ(slurp(dir / "model/config.json"), hub.files.at("config.json").content);
  EXPECT_EQ(authorization(), "Bearer hf_flag");
}

TEST_F(DownloadVerb, PatternsAndDatasets) {
  const auto result = run({"download",
                           "--repo-id=org/name",
                           "--repo-type=dataset",
                           "--include",
                           "*.json",
                           "--include",
                           "*.txt",
                           "--exclude",
                           "tok*",
                           "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(parse_json(result.out, "stdout")["files"], Json({"config.json", "notes.txt"}));
}

TEST_F(DownloadVerb, WhereTheTokenComesFrom) {
  dir.write("token", "hf_file\n");
  dir.write("elsewhere", " hf_named \n");
  const std::vector<std::string> verb = {"download", "--repo_id", "org/name", "--force_download"};
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"HF_TOKEN="}, "Bearer hf_file"},
      {{"HF_TOKEN=", "HF_TOKEN_PATH=" + (dir / "elsewhere").string()}, "Bearer hf_named"},
      {{"HF_TOKEN=", "HF_TOKEN_PATH=" + (dir / "none").string()}, ""},
      {{"HF_HUB_DISABLE_IMPLICIT_TOKEN=1"}, ""},
  };
  for (const auto& [env, sent] : cases) {
    ASSERT_EQ(run(verb, env).exit_code, 0);
    EXPECT_EQ(authorization(), sent);
  }
}

TEST_F(DownloadVerb, ErrorsAreOneLineWithAnExitCode) {
  const auto expect = [&](const std::vector<std::string>& arguments,
                          int code,
                          const std::string& words,
                          const std::vector<std::string>& env = {}) {
    const auto result = run(arguments, env);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err.rfind("error: ", 0), 0U) << result.err;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
  };
  expect({"download"}, 2, "--repo_id is required");
  expect({"download", "--repo_id", "../x"}, 2, "repository");
  expect({"download", "--repo_id", "org/name", "--repo_type", "space"}, 2, "model or dataset");
  expect({"download", "--repo_id", "org/name", "--max_workers", "0"}, 2, "--max_workers");
  expect({"download", "--repo_id", "org/absent"}, 3, "org/absent: expected a model");
  expect({"download", "--repo_id", "org/name", "--revision", "v9"}, 3, "revision \"v9\"");
  expect({"download", "--repo_id", "org/name"}, 3, "HF_HUB_OFFLINE", {"HF_HUB_OFFLINE=1"});
  expect(
      {"download", "--repo_id", "org/name"}, 2, "HF_HUB_ETAG_TIMEOUT", {"HF_HUB_ETAG_TIMEOUT=x"});
  expect({"download", "--repo_id", "org/name"}, 2, "endpoint", {"HF_ENDPOINT=nowhere:"});
}

TEST_F(DownloadVerb, HonoursTheProxyOfTheEnvironment) {
  // The hub is asked as a proxy would be: with the whole URL of a host that is not there.
  const auto result =
      run({"download", "--repo_id", "org/name"},
          {"HF_ENDPOINT=http://hub.invalid", "http_proxy=" + hub.endpoint(), "no_proxy=localhost"});
  EXPECT_EQ(result.exit_code, 3);
  ASSERT_FALSE(hub.requests().empty());
  EXPECT_EQ(hub.requests().front().target, "http://hub.invalid/api/models/org/name/revision/main");
}

TEST_F(DownloadVerb, InstructDataset) {
  hub.repository = "liuhaotian/LLaVA-Instruct-150K";
  const std::string conversation =
      R"({"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nHi"},)"
      R"( {"from": "gpt", "value": "Hello"}]})";
  add("llava_instruct_150k.json", "[" + conversation + ", " + conversation + "]");
  const std::string folder = (dir / "data").string();
  const std::vector<std::string> verb = {"download_dataset", "--output_dir", folder, "--json"};
  const auto first = run(verb);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const Json json = parse_json(first.out, "stdout");
  EXPECT_EQ(json["samples"], 2);
  EXPECT_EQ(json["files"], Json({"llava_instruct_150k.json"}));
  EXPECT_FALSE(fs::exists(dir / "data/notes.txt"));

  // A whole file is kept without asking …
  const std::size_t requests = hub.requests().size();
  const auto second = run(verb);
  EXPECT_EQ(parse_json(second.out, "stdout")["samples"], 2);
  EXPECT_EQ(hub.requests().size(), requests);
  // … and one that was cut is replaced.
  fs::resize_file(dir / "data/llava_instruct_150k.json", 200);
  const auto third = run(verb);
  EXPECT_EQ(third.exit_code, 0) << third.err;
  EXPECT_NE(third.err.find("downloaded again"), std::string::npos);
  EXPECT_EQ(parse_json(third.out, "stdout")["samples"], 2);
}

}  // namespace
}  // namespace vmla::test
