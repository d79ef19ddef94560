// eval on Parquet tables, in a folder and in the Hugging Face cache.
#include <gtest/gtest.h>

#include "base/json.h"
#include "support/run_command.h"
#include "support/temp_dir.h"

namespace vmla::test {
namespace {

const std::string kGolden = "tests/golden/parquet/vqav2/";
constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

// A cache as the hub's client leaves it: files are links to blobs.
std::vector<std::string> hub_cache(const TempDir& dir) {
  const fs::path repository = dir / "hub/datasets--lmms-lab--VQAv2";
  const fs::path snapshot = repository / "snapshots" / kCommit / "data";
  fs::create_directories(snapshot);
  fs::create_directories(repository / "blobs");
  int number = 0;
  for (const auto& entry : fs::directory_iterator(kGolden + "table/data")) {
    const std::string blob = "blob" + std::to_string(number++);
    fs::copy_file(entry.path(), repository / "blobs" / blob);
    fs::create_symlink("../../../blobs/" + blob, snapshot / entry.path().filename());
  }
  dir.write("hub/datasets--lmms-lab--VQAv2/refs/main", kCommit);
  return {"HF_HUB_CACHE=" + (dir / "hub").string(), "HF_HUB_OFFLINE=1"};
}

std::string some_predictions(const TempDir& dir) {
  std::string lines;
  const Json questions = read_json(kGolden + "questions.json");
  for (const auto& question : questions["questions"]) {
    lines += Json{{"question_id", question["question_id"]}, {"answer", "yes"}}.dump() + "\n";
  }
  return dir.write("predictions.jsonl", lines).string();
}

TEST(EvalDataset, ScoresTheSameFromFolderCacheAndOfficialFiles) {
  const TempDir dir;
  const auto env = hub_cache(dir);
  const auto scored = [&](std::vector<std::string> data) {
    std::vector<std::string> arguments = {"eval", "score", "--benchmark", "vqav2", "--json"};
    arguments.insert(arguments.end(), {"--predictions", some_predictions(dir)});
    arguments.insert(arguments.end(), data.begin(), data.end());
    const CommandResult result = run_vlm_mla(arguments, {}, env);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parse_json(result.exit_code == 0 ? result.out : "{}", "stdout");
  };
  const Json want = scored(
      {"--questions", kGolden + "questions.json", "--annotations", kGolden + "annotations.json"});
  EXPECT_GT(want["metrics"]["official"]["overall"], 0.0);
  const Json folder = scored({"--dataset", kGolden + "table", "--split", "validation"});
  EXPECT_EQ(folder["metrics"], want["metrics"]);
  EXPECT_EQ(folder["settings"]["split"], "validation");
  EXPECT_EQ(scored({"--dataset", "lmms-lab/VQAv2"})["metrics"], want["metrics"]);
}

TEST(EvalDataset, TakesTheOriginalsCommandLine) {
  const TempDir dir;
  const auto env = hub_cache(dir);
  const CommandResult result = run_vlm_mla({"eval_vqa",
                                            "--model_path",
                                            "tests/golden/models/mha",
                                            "--device",
                                            "cpu",
                                            "--dtype",
                                            "float32",
                                            "--split",
                                            "validation",
                                            "--max_samples",
                                            "5",
                                            "--batch_size",
                                            "4",
                                            "--output_dir",
                                            (dir / "out").string(),
                                            "--save_predictions",
                                            "--analyze_errors"},
                                           {},
                                           env);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json results = read_json(dir / "out/results.json");
  EXPECT_EQ(results["counts"]["scored"], 5);
  EXPECT_EQ(results["settings"]["prompt"], "original");
  EXPECT_EQ(results["settings"]["max_new_tokens"], 32);
  EXPECT_EQ(results["settings"]["dataset"], "lmms-lab/VQAv2");
  EXPECT_EQ(results["settings"]["split"], "validation");
}

TEST(EvalDataset, SaysWhatIsWrong) {
  const TempDir dir;
  const std::vector<std::string> nowhere = {"HF_HUB_CACHE=" + (dir / "none").string()};
  const auto run = [&](std::vector<std::string> data) {
    std::vector<std::string> arguments = {
        "eval", "score", "--benchmark", "vqav2", "--predictions", some_predictions(dir)};
    arguments.insert(arguments.end(), data.begin(), data.end());
    return run_vlm_mla(arguments, {}, nowhere);
  };
  const CommandResult absent = run({"--dataset", "lmms-lab/VQAv2"});
  EXPECT_EQ(absent.exit_code, 3);
  EXPECT_NE(absent.err.find("download"), std::string::npos) << absent.err;
  const CommandResult both =
      run({"--dataset", kGolden + "table", "--questions", kGolden + "questions.json"});
  EXPECT_EQ(both.exit_code, 2) << both.err;
  const CommandResult split = run({"--dataset", kGolden + "table", "--split", "minival"});
  EXPECT_EQ(split.exit_code, 5);
  EXPECT_NE(split.err.find("expected split minival, found testdev, validation"), std::string::npos)
      << split.err;
}

}  // namespace
}  // namespace vmla::test
