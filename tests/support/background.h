// Programs that run beside a test, to be watched and killed.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "support/temp_dir.h"

namespace vmla::test {

// The vlm-mla binary under test in the background; its output goes to a file.
class Background {
 public:
  Background(std::vector<std::string> command, const std::filesystem::path& log) : log_(log) {
    command.insert(command.begin(), std::getenv("VMLA_BIN"));
    const int fd = ::open(log.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    pid_ = ::fork();
    if (pid_ != 0) {
      ::close(fd);
      return;
    }
    ::dup2(fd, STDOUT_FILENO);
    ::dup2(fd, STDERR_FILENO);
    ::setenv("OMP_NUM_THREADS", "1", 1);
    std::vector<char*> raw;
    for (std::string& argument : command) raw.push_back(argument.data());
    raw.push_back(nullptr);
    ::execv(raw[0], raw.data());
    ::_exit(127);
  }
  ~Background() {
    if (pid_ > 0) kill_now();
  }

  std::string log() const { return slurp(log_); }
  std::vector<pid_t> children() const {
    std::ifstream in("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) +
                     "/children");
    std::vector<pid_t> out;
    for (pid_t pid = 0; in >> pid;) out.push_back(pid);
    return out;
  }
  // Exit code, 128 + signal when it was killed, -1 when it does not end in time.
  int wait(std::chrono::seconds patience) {
    int status = 0;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) return -1;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  void kill_now() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  std::filesystem::path log_;
  pid_t pid_ = 0;
};

template <typename Condition>
bool wait_until(const Condition& condition, int seconds = 60) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

}  // namespace vmla::test
