#include "base/remove_on_signal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <thread>

#include "base/atomic_directory.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::TempDir;

std::size_t entries(const fs::path& dir) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
}

// Runs body in a child, sends the signal when body has called ready(), and returns the wait status.
int signalled(int number, const std::function<void(const std::function<void()>& ready)>& body) {
  int pipe[2];
  EXPECT_EQ(::pipe(pipe), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    body([&] { EXPECT_EQ(::write(pipe[1], "r", 1), 1); });
    ::_exit(0);
  }
  ::close(pipe[1]);
  char byte = 0;
  EXPECT_EQ(::read(pipe[0], &byte, 1), 1);
  ::kill(child, number);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(pipe[0]);
  return status;
}

// The child keeps on writing files while it is told to end.
[[noreturn]] void write_for_ever(const fs::path& dir) {
  for (int i = 0;; ++i) std::ofstream(dir / std::to_string(i)) << i;
}

TEST(RemoveOnSignal, RemovesAnUnfinishedDirectory) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    const TempDir dir;
    dir.write("model/old", "kept");
    const int status = signalled(number, [&](const auto& ready) {
      AtomicDirectory out(dir / "model", true);
      AtomicDirectory other(dir / "other", false);
      ready();
      write_for_ever(out.path());
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << number;
    EXPECT_EQ(WTERMSIG(status), number);
    EXPECT_EQ(entries(dir.path()), 1U) << number;
    EXPECT_EQ(test::slurp(dir / "model/old"), "kept");
  }
}

TEST(RemoveOnSignal, LeavesAFinishedOneAlone) {
  const TempDir dir;
  const int status = signalled(SIGTERM, [&](const auto& ready) {
    AtomicDirectory out(dir / "model", false);
    std::ofstream(out.path() / "f") << "x";
    out.commit();
    ready();
    for (;;) ::pause();
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(fs::exists(dir / "model/f"));
}

TEST(RemoveOnSignal, LeavesSignalsAloneThatAreIgnored) {
  const TempDir dir;
  const int status = signalled(SIGHUP, [&](const auto& ready) {
    std::signal(SIGHUP, SIG_IGN);  // as nohup does
    AtomicDirectory out(dir / "model", false);
    ready();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    out.commit();
  });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_TRUE(fs::exists(dir / "model"));
}

TEST(RemoveOnSignal, AForkedChildRemovesNothing) {
  const TempDir dir;
  AtomicDirectory out(dir / "model", false);
  const int status = signalled(SIGTERM, [&](const auto& ready) {
    ready();
    for (;;) ::pause();
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(fs::exists(out.path()));
  out.commit();
  EXPECT_TRUE(fs::exists(dir / "model"));
}

TEST(RemoveOnSignal, SignalsAreAsBeforeAfterwards) {
  const TempDir dir;
  { AtomicDirectory(dir / "model", false).commit(); }
  struct sigaction now {};
  ::sigaction(SIGTERM, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
}

}  // namespace
}  // namespace vmla
