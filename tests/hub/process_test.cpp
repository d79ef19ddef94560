// Several processes, and processes that die.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

#include "base/log.h"
#include "base/stopwatch.h"
#include "hub/hub_fixture.h"

namespace vmla {
namespace {

using test::HubFixture;
using test::HubReply;
using test::HubRequest;

constexpr const char* kLarge = "model.safetensors";

struct HubProcess : HubFixture {
  // Runs act in a child; its exit code is 0, or the kind of the error that it ended with.
  static pid_t start(const std::function<void()>& act) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    int code = 0;
    try {
      set_log_level(LogLevel::Off);
      act();
    } catch (const Error& e) {
      code = e.exit_code();
    } catch (...) {
      code = 99;
    }
    ::_exit(code);
  }
  static int finish(pid_t pid) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // Waits until the file has at least size bytes.
  static bool grown(const fs::path& path, std::uintmax_t size) {
    const Stopwatch watch;
    std::error_code ec;
    while (watch.seconds() < 20) {
      const std::uintmax_t now = fs::file_size(path, ec);
      if (!ec && now >= size) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
};

TEST_F(HubProcess, TwoAtOnceReadEachFileOnce) {
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) == 0) reply.pause_ms = 300;
  };
  std::vector<pid_t> children;
  for (int i = 0; i < 2; ++i) children.push_back(start([this] { download(); }));
  for (const pid_t child : children) EXPECT_EQ(finish(child), 0);
  EXPECT_TRUE(has_all(snapshot()));
  std::size_t large = 0;
  for (const HubRequest& read : hub.reads()) large += read.target.rfind("/cdn/", 0) == 0 ? 1 : 0;
  EXPECT_EQ(large, 1U);
}

TEST_F(HubProcess, KilledInTheMiddleThenResumed) {
  hub.tamper = [](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0 || count > 1) return;
    reply.cut_after = 123456;
    reply.stall = true;
  };
  const pid_t child = start([this] { download(); });
  ASSERT_TRUE(grown(partial(kLarge), 123456));
  ::kill(child, SIGKILL);
  EXPECT_EQ(finish(child), 128 + SIGKILL);
  EXPECT_TRUE(has_none(kLarge));

  const Snapshot got = download();
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_EQ(last_range(), "bytes=123456-");
  EXPECT_LE(got.fetched_bytes, 300000 - 123456 + 23 + 5);
}

TEST_F(HubProcess, KilledInTheMiddleThenResumedInAFolder) {
  request.directory = dir / "model";
  request.include = {kLarge};
  hub.tamper = [](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0 || count > 1) return;
    reply.cut_after = 1000;
    reply.stall = true;
  };
  const fs::path part = dir / "model/.cache/huggingface/download" /
                        (text_digest(kLarge, DigestKind::Sha256).substr(0, 8) + "." +
                         hub.files.at(kLarge).etag + ".incomplete");
  const pid_t child = start([this] { download(); });
  ASSERT_TRUE(grown(part, 1000));
  ::kill(child, SIGKILL);
  finish(child);
  EXPECT_FALSE(fs::exists(dir / "model" / kLarge));
  EXPECT_EQ(download().fetched_bytes, 299000);
  EXPECT_EQ(test::slurp(dir / "model" / kLarge), hub.files.at(kLarge).content);
}

TEST_F(HubProcess, FullDiskThenMoreSpace) {
  // A limit on the file's size stops the write as a full disk does.
  const pid_t child = start([this] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100000, 100000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    download();
  });
  EXPECT_EQ(finish(child), static_cast<int>(ErrorKind::Io));
  EXPECT_TRUE(has_none(kLarge));
  EXPECT_EQ(fs::file_size(partial(kLarge)), 100000U);
  download();
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_EQ(last_range(), "bytes=100000-");
}

}  // namespace
}  // namespace vmla
