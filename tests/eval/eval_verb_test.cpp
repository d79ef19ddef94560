// The verb eval on several ranks, as users start it: processes that are told to end, and that die.
#include <gtest/gtest.h>

#include "base/json.h"
#include "support/background.h"
#include "support/run_command.h"

namespace vmla::test {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kEnvironment{"OMP_NUM_THREADS=1"};

// The golden model asked `count` questions about the golden pictures, in fp32; later flags win.
std::vector<std::string> arguments(const TempDir& dir,
                                   int count,
                                   const std::vector<std::string>& more) {
  Json questions = Json::array(), annotations = Json::array();
  for (int id = 0; id < count; ++id) {
    questions.push_back({{"question_id", id},
                         {"image_id", id % 2},
                         {"question", id % 3 == 0 ? "What is it?" : "Is it the left one?"}});
    Json answers = Json::array();
    for (int k = 0; k < 10; ++k) answers.push_back({{"answer", k < 7 ? "yes" : "no"}});
    annotations.push_back({{"question_id", id},
                           {"image_id", id % 2},
                           {"question_type", "is it"},
                           {"answer_type", "yes/no"},
                           {"answers", answers}});
  }
  for (const auto& [name, image] :
       {std::pair{"000000000000", "circle"}, {"000000000001", "stripes"}}) {
    fs::create_directories(dir / "images");
    fs::copy_file(fs::path("tests/golden/images") / (std::string(image) + ".png"),
                  dir / ("images/COCO_val2014_" + std::string(name) + ".jpg"),
                  fs::copy_options::skip_existing);
  }
  std::vector<std::string> all{
      "eval",
      "--benchmark=vqav2",
      "--model_path=tests/golden/models/mha",
      "--questions",
      dir.write("questions.json",
                Json{{"data_subtype", "val2014"}, {"questions", questions}}.dump())
          .string(),
      "--annotations",
      dir.write("annotations.json",
                Json{{"data_subtype", "val2014"}, {"annotations", annotations}}.dump())
          .string(),
      "--image_root",
      (dir / "images").string(),
      "--device=cpu",
      "--dtype=float32",
      "--batch_size=2",
      "--max_new_tokens=5",
      "--resamples=10",
      "--workers=1"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(EvalRanks, EqualOneProcess) {
  const TempDir dir;
  const auto run = [&](const std::string& output, const std::vector<std::string>& more) {
    std::vector<std::string> flags{"--output_dir", (dir / output).string(), "--json"};
    flags.insert(flags.end(), more.begin(), more.end());
    return run_vlm_mla(arguments(dir, 10, flags), {}, kEnvironment);
  };
  const CommandResult one = run("one", {}), two = run("two", {"--nproc_per_node", "2"});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  ASSERT_EQ(two.exit_code, 0) << two.err;
  EXPECT_EQ(slurp(dir / "two/predictions.jsonl"), slurp(dir / "one/predictions.jsonl"));
  // One rank alone speaks.
  const Json report = parse_json(two.out, "stdout");
  EXPECT_EQ(report.at("metrics"), parse_json(one.out, "stdout").at("metrics"));
  EXPECT_EQ(report.at("timings").at("ranks"), 2);
  EXPECT_EQ(report.at("timings").at("questions"), 10);

  const CommandResult other = run("one", {"--prompt", "original"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_EQ(other.err.find("error: " + (dir / "one").string() +
                           ": expected a run with prompt \"original\""),
            0U)
      << other.err;
  EXPECT_EQ(std::count(other.err.begin(), other.err.end(), '\n'), 1) << other.err;
  EXPECT_EQ(run("one", {"--prompt", "original", "--overwrite"}).exit_code, 0);
}

// What needs no answers, likewise.
TEST(EvalRanks, MeasuresEqualOneProcess) {
  const TempDir dir;
  const std::string golden = "tests/golden/";
  const auto report = [&](const std::string& output, std::vector<std::string> all, int ranks) {
    const std::vector<std::string> more{"--device=cpu",
                                        "--dtype=float32",
                                        "--text=" + golden + "measures/text.txt",
                                        "--window=16",
                                        "--batch_size=2",
                                        "--no_model_hash",
                                        "--json",
                                        "--output_dir",
                                        (dir / output).string(),
                                        "--nproc_per_node",
                                        std::to_string(ranks)};
    all.insert(all.end(), more.begin(), more.end());
    const CommandResult result = run_vlm_mla(all, {}, kEnvironment);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    Json json = parse_json(result.exit_code == 0 ? result.out : "{}", "stdout");
    EXPECT_EQ(json["timings"]["ranks"], std::max(ranks, 1));
    json.erase("timings");
    return json;
  };
  const std::vector<std::string> perplexity{
      "eval", "--benchmark=perplexity", "--model_path=" + golden + "models/mha"};
  EXPECT_EQ(report("p2", perplexity, 2), report("p1", perplexity, 0));
  const std::vector<std::string> agreement{"eval",
                                           "--benchmark=agreement",
                                           "--model_path=" + golden + "models/gqa",
                                           "--reference_model=" + golden + "models/mha",
                                           "--questions=" + golden + "measures/questions.jsonl",
                                           "--image_root=" + golden + "images"};
  EXPECT_EQ(report("a2", agreement, 2), report("a1", agreement, 0));
  EXPECT_EQ(slurp(dir / "a2/predictions.jsonl"), slurp(dir / "a1/predictions.jsonl"));
  EXPECT_FALSE(fs::exists(dir / "a2/predictions.rank1.jsonl"));
}

TEST(EvalRanks, ARankThatDiesStopsTheJob) {
  const TempDir dir;
  const fs::path output = dir / "out";
  Background job(arguments(dir, 20000, {"--output_dir", output.string(), "--nproc_per_node", "2"}),
                 dir / "log");
  ASSERT_TRUE(wait_until([&] {
    std::error_code ec;
    return fs::exists(output / "predictions.rank1.jsonl", ec) &&
           fs::file_size(output / "predictions.rank1.jsonl", ec) > 0;
  })) << job.log();
  const std::vector<pid_t> ranks = job.children();
  ASSERT_EQ(ranks.size(), 2U);
  ::kill(ranks[1], SIGKILL);
  EXPECT_EQ(job.wait(std::chrono::seconds(30)), 8) << job.log();  // ErrorKind::Device
  EXPECT_NE(job.log().find("rank"), std::string::npos) << job.log();
  for (const pid_t pid : ranks) EXPECT_NE(::kill(pid, 0), 0) << pid;  // none is left
  EXPECT_FALSE(fs::exists(output / "results.json"));
}

TEST(EvalRanks, CtrlCLeavesARunThatGoesOn) {
  const TempDir dir;
  const fs::path output = dir / "out";
  Background job(arguments(dir, 20000, {"--output_dir", output.string(), "--nproc_per_node", "2"}),
                 dir / "log");
  ASSERT_TRUE(wait_until([&] {
    std::error_code ec;
    return fs::exists(output / "predictions.rank1.jsonl", ec) &&
           fs::file_size(output / "predictions.rank1.jsonl", ec) > 0;
  })) << job.log();
  for (const pid_t pid : job.children()) ::kill(pid, SIGINT);
  EXPECT_EQ(job.wait(std::chrono::seconds(30)), 130) << job.log();
  EXPECT_EQ(job.log().find("error:"), std::string::npos) << job.log();
  EXPECT_TRUE(fs::exists(output / "run.json"));
}

}  // namespace
}  // namespace vmla::test
