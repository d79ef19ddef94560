// The same results on any number of ranks, and what becomes of a rank that stops or dies.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "base/log.h"
#include "eval/rank_watch.h"
#include "eval_run_fixture.h"
#include "support/expect_error.h"
#include "support/run_ranks.h"

namespace vmla {
namespace {

using test::run_ranks;
using test::slurp;
using test::TempDir;

class RankRun : public test::EvalRun {
 protected:
  // Rank 0's result.
  static EvalRunResult run_on(std::int64_t ranks, const EvalRunRequest& request) {
    EvalRunResult result;
    run_ranks(ranks, [&](ProcessGroup& group) {
      EvalRunResult own = run_benchmark(*model_, *processor_, request, nullptr, &group);
      if (group.rank() == 0) {
        result = std::move(own);
      } else {
        EXPECT_TRUE(own.report.samples.empty());
      }
    });
    return result;
  }
  static std::set<std::string> files(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
      names.insert(entry.path().filename().string());
    return names;
  }
};

TEST_F(RankRun, EqualsOneRank) {
  for (const bool share : {true, false}) {
    const TempDir alone;
    const auto want = run_benchmark(*model_, *processor_, request(alone, 2, share));
    for (const std::int64_t ranks : {2, 4}) {
      const TempDir dir;
      const auto got = run_on(ranks, request(dir, 2, share));
      EXPECT_EQ(texts(got), texts(want)) << ranks;
      EXPECT_EQ(slurp(dir / "out/predictions.jsonl"), slurp(alone / "out/predictions.jsonl"));
      EXPECT_EQ(got.report.score.metrics, want.report.score.metrics);
      EXPECT_EQ(got.report.counts, want.report.counts);
      // Each question once, and the images of a batch on one rank.
      EXPECT_EQ(got.timings.questions, 9);
      EXPECT_EQ(got.timings.images, want.timings.images);
      EXPECT_EQ(got.timings.prefix_tokens, want.timings.prefix_tokens);
      EXPECT_EQ(
          files(dir / "out"),
          (std::set<std::string>{"predictions.jsonl", "printed.txt", "results.json", "run.json"}));
    }
  }
}

TEST_F(RankRun, MoreRanksThanBatches) {
  const TempDir alone, dir;
  const auto want = run_benchmark(*model_, *processor_, request(alone, 64, true));
  EXPECT_EQ(texts(run_on(3, request(dir, 64, true))), texts(want));
}

TEST_F(RankRun, GoesOnWithAnotherNumberOfRanks) {
  const TempDir alone;
  const auto want = run_benchmark(*model_, *processor_, request(alone, 2, true));
  std::vector<std::string> lines;
  for (const auto& prediction : load_predictions(alone / "out/predictions.jsonl")) {
    lines.push_back(
        Json{{"question_id", std::stoi(prediction.id.text)}, {"prediction", prediction.text}}
            .dump() +
        "\n");
  }
  for (const std::int64_t ranks : {1, 2, 3}) {
    const TempDir dir;
    const EvalRunRequest r = request(dir, 2, true);
    fs::create_directories(r.output_dir);
    fs::copy_file(alone / "out/run.json", dir / "out/run.json");
    // What a crash in the middle of gathering leaves: an answer in two files, torn lines.
    dir.write("out/predictions.jsonl", lines[0] + lines[4] + lines[2].substr(0, 9));
    dir.write("out/predictions.rank0.jsonl", lines[4] + lines[1] + "{\"question_id\": 1");
    dir.write("out/predictions.rank3.jsonl", lines[8]);
    dir.write("out/predictions.rank4.jsonl", "{");
    const auto got = run_on(ranks, r);
    EXPECT_EQ(got.resumed, 4) << ranks;
    EXPECT_EQ(got.timings.questions, 5);
    EXPECT_EQ(slurp(dir / "out/predictions.jsonl"), slurp(alone / "out/predictions.jsonl"));
    EXPECT_EQ(got.report.score.metrics, want.report.score.metrics);
  }
}

TEST_F(RankRun, BrokenImagesOfAllRanksAreListed) {
  const TempDir dir;
  EvalRunRequest r = request(dir, 1, true);
  dir.write("images/picture1.png", "not a picture");
  const auto result = run_on(2, r);
  ASSERT_EQ(result.problems.size(), 3U);
  EXPECT_EQ(result.problems[2].id.text, "105");
  EXPECT_EQ(result.report.counts.at("failed"), 3);
  EXPECT_EQ(run_on(3, request(dir, 1, true)).resumed, 6) << "only the three are asked again";
}

TEST_F(RankRun, OtherSettingsEndAllRanks) {
  const TempDir dir;
  run_on(2, request(dir, 2, true));
  EvalRunRequest other = request(dir, 2, true);
  other.with_ocr = true;
  std::atomic<int> refused = 0;
  run_ranks(3, [&](ProcessGroup& group) {
    EXPECT_TRUE(test::fails_with(
        ErrorKind::Usage, {group.rank() == 0 ? "expected a run with ocr true" : "rank 0"}, [&] {
          run_benchmark(*model_, *processor_, other, nullptr, &group);
        }));
    ++refused;
  });
  EXPECT_EQ(refused, 3);
}

bool wait_for(const std::atomic<bool>& flag) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!flag) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

TEST(RankWatch, SumsWhatAllHaveDone) {
  std::atomic<std::int64_t> told = 0;
  run_ranks(3, [&](ProcessGroup& group) {
    RankWatch watch(group, nullptr, [&](std::int64_t steps) { told += steps; });
    for (int i = 0; i < 4; ++i) watch.add(group.rank() + 1);
    EXPECT_TRUE(watch.finish());
    EXPECT_FALSE(watch.stop());
  });
  EXPECT_EQ(told, 4 * (1 + 2 + 3));
}

TEST(RankWatch, CtrlCOnOneRankStopsAll) {
  run_ranks(3, [&](ProcessGroup& group) {
    const std::atomic<bool> cancel = group.rank() == 1;
    RankWatch watch(group, &cancel, [](std::int64_t) {});
    EXPECT_TRUE(wait_for(watch.stop())) << group.rank();
    EXPECT_FALSE(watch.finish());
  });
}

TEST(RankWatch, ARankThatIsGoneStopsTheOthers) {
  EXPECT_TRUE(test::fails_with(ErrorKind::Device, {"rank", " of 3", "one is gone"}, [] {
    run_ranks(3, [](ProcessGroup& group) {
      RankWatch watch(group, nullptr, [](std::int64_t) {});
      if (group.rank() == 2) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        return;  // as an exception would leave it
      }
      EXPECT_TRUE(wait_for(watch.stop())) << group.rank();
      watch.finish();
    });
  }));
}

}  // namespace
}  // namespace vmla
