#include "dist/launcher.h"

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/files.h"

namespace vmla {
namespace {

constexpr auto kPatience = std::chrono::seconds(5);  // between asking a rank to end and killing it

std::vector<std::string> own_arguments() {
  const std::string text = read_file("/proc/self/cmdline");
  std::vector<std::string> arguments;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\0', at), text.size());
    arguments.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return arguments;
}

// A port that was free a moment ago.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const bool ok = ::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  ::close(fd);
  check(ok, ErrorKind::Io, "--nproc_per_node: no free port on this machine");
  return ntohs(address.sin_port);
}

[[noreturn]] void become_rank(std::int64_t rank,
                              std::int64_t count,
                              int port,
                              const std::vector<std::string>& arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto set = [](const char* name, const std::string& value) {
    ::setenv(name, value.c_str(), 1);
  };
  set("RANK", std::to_string(rank));
  set("LOCAL_RANK", std::to_string(rank));
  set("WORLD_SIZE", std::to_string(count));
  set("MASTER_ADDR", "127.0.0.1");
  set("MASTER_PORT", std::to_string(port));
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  ::setenv("OMP_NUM_THREADS", std::to_string(std::max<std::int64_t>(1, cores / count)).c_str(), 0);
  std::vector<char*> raw;
  raw.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  ::execv("/proc/self/exe", raw.data());
  ::_exit(127);
}

void stop_all(std::vector<pid_t>& ranks) {
  for (const pid_t pid : ranks) {
    if (pid > 0) ::kill(pid, SIGTERM);
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (pid_t& pid : ranks) {
    if (pid <= 0) continue;
    while (::waitpid(pid, nullptr, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) ::kill(pid, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    pid = 0;
  }
}

}  // namespace

int launch_ranks(std::int64_t count) {
  check(count >= 1, ErrorKind::Usage, "--nproc_per_node: expected 1 or more, got {}", count);
  const std::vector<std::string> arguments = own_arguments();
  const int port = free_port();
  std::vector<pid_t> ranks;
  for (std::int64_t rank = 0; rank < count; ++rank) {
    const pid_t pid = ::fork();
    if (pid == 0) become_rank(rank, count, port, arguments);
    if (pid < 0) {
      const std::string reason = std::strerror(errno);
      stop_all(ranks);
      fail(ErrorKind::Io, "--nproc_per_node: rank {} cannot be started: {}", rank, reason);
    }
    ranks.push_back(pid);
  }
  // Ctrl-C reaches the ranks as well; what they make of it decides.
  ::signal(SIGINT, SIG_IGN);
  for (std::int64_t left = count; left > 0; --left) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, 0);
    const auto ended = std::find(ranks.begin(), ranks.end(), pid);
    if (ended == ranks.end()) continue;
    *ended = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    stop_all(ranks);
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (WTERMSIG(status) == SIGINT) return 128 + SIGINT;
    fail(ErrorKind::Device,
         "rank {} of {}: killed by signal {}; the others were stopped",
         ended - ranks.begin(),
         count,
         WTERMSIG(status));
  }
  return 0;
}

}  // namespace vmla
