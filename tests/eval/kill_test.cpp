// kill -9 at random moments: what is resumed ends as what was never interrupted. A program of its
// own, for it forks: nothing else may have started threads.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <random>
#include <thread>

#include "base/log.h"
#include "eval_run_fixture.h"
#include "support/run_ranks.h"

namespace vmla {
namespace {

using test::slurp;
using test::TempDir;

constexpr int kKills = 20;

class Kill : public test::EvalRun {
 protected:
  static void SetUpTestSuite() {
    at::set_num_threads(1);
    EvalRun::SetUpTestSuite();
  }
  static EvalRunRequest long_request(const TempDir& dir) {
    EvalRunRequest r = request(dir, 3, true, 60);
    r.runner.max_new_tokens = 24;
    return r;
  }

  // A process that says "x" once it begins to answer.
  static pid_t start(const EvalRunRequest& request, const RankLayout& layout, int ready) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    set_log_level(LogLevel::Off);
    int code = 1;
    try {
      const auto group = connect_processes(layout, at::kCPU, std::chrono::seconds(20));
      if (::write(ready, "x", 1) == 1) {
        run_benchmark(*model_, *processor_, request, nullptr, group.get());
        code = 0;
      }
    } catch (const std::exception&) {
      // Its peer was killed first.
    }
    ::_exit(code);
  }

  // Runs the ranks as processes and kills all of them after that time; whether they had ended well
  // before.
  static bool finished_before(const EvalRunRequest& request,
                              std::int64_t ranks,
                              std::chrono::milliseconds patience) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    RankLayout layout;
    layout.world_size = ranks;
    layout.master_port = test::free_port();
    std::vector<pid_t> pids;
    for (layout.rank = 0; layout.rank < ranks; ++layout.rank)
      pids.push_back(start(request, layout, pipe[1]));
    ::close(pipe[1]);
    char byte = 0;
    for (std::int64_t i = 0; i < ranks; ++i) EXPECT_EQ(::read(pipe[0], &byte, 1), 1);
    ::close(pipe[0]);
    std::this_thread::sleep_for(patience);
    for (const pid_t pid : pids) ::kill(pid, SIGKILL);
    bool all = true;
    for (const pid_t pid : pids) {
      int status = 0;
      ::waitpid(pid, &status, 0);
      all = all && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return all;
  }

  // Whole lines in all logs.
  static std::int64_t lines(const fs::path& folder) {
    std::int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".jsonl") continue;
      const std::string text = slurp(entry.path());
      count += std::count(text.begin(), text.end(), '\n');
    }
    return count;
  }
};

TEST_F(Kill, LosesAndRepeatsNothing) {
  set_log_level(LogLevel::Warning);
  const TempDir whole;
  const auto want = run_benchmark(*model_, *processor_, long_request(whole));
  const std::string predictions = slurp(whole / "out/predictions.jsonl");
  const auto total = static_cast<std::int64_t>(want.report.samples.size());

  std::mt19937 random(20);
  auto dir = std::make_unique<TempDir>();
  EvalRunRequest r = long_request(*dir);
  const auto expect_whole = [&](const Json& metrics) {
    EXPECT_EQ(slurp(*dir / "out/predictions.jsonl"), predictions);
    EXPECT_EQ(metrics, want.report.score.metrics);
  };
  int in_the_middle = 0;
  std::int64_t before = 0;
  for (int kill = 0; kill < kKills;) {
    const std::int64_t ranks = kill % 3 == 2 ? 2 : 1;
    const std::chrono::milliseconds patience(10 + random() % 291);
    if (finished_before(r, ranks, patience)) {
      expect_whole(read_json(*dir / "out/results.json").at("metrics"));
      dir = std::make_unique<TempDir>();
      r = long_request(*dir);
      before = 0;
      continue;
    }
    ++kill;
    const std::int64_t after = fs::exists(r.output_dir) ? lines(r.output_dir) : 0;
    EXPECT_GE(after, before) << "nothing that was written is lost";
    in_the_middle += after > before && after < total ? 1 : 0;
    before = after;
    // A line that the kill has cut.
    if (kill % 4 == 0 && after > 0) {
      const fs::path log =
          r.output_dir / (ranks == 1 ? "predictions.jsonl" : "predictions.rank1.jsonl");
      std::ofstream(log, std::ios::app) << predictions.substr(0, 1 + random() % 40);
    }
  }
  EXPECT_GE(in_the_middle, kKills / 2) << "kills come while answers do, or this shows little";
  expect_whole(run_benchmark(*model_, *processor_, r).report.score.metrics);
}

}  // namespace
}  // namespace vmla
