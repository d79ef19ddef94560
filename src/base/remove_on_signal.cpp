#include "base/remove_on_signal.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <thread>
#include <utility>

#include "base/error.h"

namespace vmla {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

// What the handler needs: it may only write to a pipe, whose reader does the work.
pid_t watched_process = 0;
int signal_pipe[2] = {-1, -1};

void on_signal(int number) {
  const int saved = errno;
  if (::getpid() == watched_process) {
    const auto byte = static_cast<unsigned char>(number);
    [[maybe_unused]] const ssize_t written = ::write(signal_pipe[1], &byte, 1);
  } else {  // a child that was forked and owns nothing here
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  errno = saved;
}

class Registry {
 public:
  void add(const fs::path& directory) {
    const std::lock_guard lock(mutex_);
    if (watched_process != ::getpid()) start();
    if (directories_.empty()) install();
    directories_.insert(directory);
  }
  void drop(const fs::path& directory) {
    const std::lock_guard lock(mutex_);
    directories_.erase(directory);
    if (directories_.empty()) restore();
  }
  std::unique_lock<std::mutex> hold() { return std::unique_lock(mutex_); }

 private:
  void start() {
    directories_.clear();  // those of the process that this one was forked from
    const bool made = ::pipe2(signal_pipe, O_CLOEXEC) == 0;
    check(made, ErrorKind::Io, "pipe: cannot be made: {}", std::strerror(errno));
    watched_process = ::getpid();
    std::thread([this, from = signal_pipe[0]] { watch(from); }).detach();
  }

  void install() {
    for (const int number : kSignals) {
      struct sigaction old {};
      if (::sigaction(number, nullptr, &old) != 0 || old.sa_handler != SIG_DFL) continue;
      struct sigaction ours {};
      ours.sa_handler = on_signal;
      ours.sa_flags = SA_RESTART;
      ::sigaction(number, &ours, nullptr);
    }
  }

  void restore() {
    for (const int number : kSignals) {
      struct sigaction now {};
      if (::sigaction(number, nullptr, &now) == 0 && now.sa_handler == on_signal)
        std::signal(number, SIG_DFL);
    }
  }

  void watch(int from) {
    unsigned char number = 0;
    while (::read(from, &number, 1) != 1) continue;
    mutex_.lock();  // for good: what waits for it must not go on
    for (const fs::path& directory : directories_) {
      // Other threads may still be writing into it, faster than it can be emptied. Under another
      // name they no longer find it.
      std::error_code ec;
      fs::path away = directory;
      away += ".removed";
      fs::rename(directory, away, ec);
      for (const fs::path& path : {away, directory}) {
        for (int i = 0; i < 100 && fs::exists(path, ec); ++i) fs::remove_all(path, ec);
      }
    }
    std::signal(number, SIG_DFL);
    ::kill(::getpid(), number);
  }

  std::mutex mutex_;
  std::set<fs::path> directories_;
};

Registry& registry() {
  static Registry* const instance = new Registry;  // outlives every thread
  return *instance;
}

}  // namespace

RemoveOnSignal::RemoveOnSignal(fs::path directory) : directory_(std::move(directory)) {
  registry().add(directory_);
}

RemoveOnSignal::~RemoveOnSignal() {
  registry().drop(directory_);
}

std::unique_lock<std::mutex> RemoveOnSignal::hold() const {
  return registry().hold();
}

}  // namespace vmla
