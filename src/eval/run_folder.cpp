#include "eval/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "eval/prediction_log.h"

namespace vmla {
namespace {

constexpr const char* kRun = "run.json";
constexpr const char* kPredictions = "predictions.jsonl";
// A run that was killed takes a moment to die.
constexpr auto kLockPatience = std::chrono::seconds(2);

bool is_rank_log(const std::string& name) {
  return name.starts_with("predictions.rank") && name.ends_with(".jsonl");
}

void remove_file(const fs::path& path) {
  std::error_code ec;
  fs::remove(path, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be removed: {}", path.string(), ec.message());
}

}  // namespace

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void RunFolder::lock() {
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
  while (lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return;  // not every file system locks folders
    check(std::chrono::steady_clock::now() < deadline,
          ErrorKind::Usage,
          "{}: expected no other run to be under way there, got one (take another --output_dir)",
          path_.string());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

fs::path RunFolder::predictions() const {
  return path_ / kPredictions;
}

fs::path RunFolder::log(std::int64_t rank, std::int64_t ranks) const {
  return ranks == 1 ? predictions() : path_ / fmt::format("predictions.rank{}.jsonl", rank);
}

std::vector<fs::path> RunFolder::rank_logs() const {
  std::vector<fs::path> logs;
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (is_rank_log(entry.path().filename().string())) logs.push_back(entry.path());
  }
  std::sort(logs.begin(), logs.end());
  return logs;
}

std::vector<fs::path> RunFolder::logs() const {
  std::vector<fs::path> logs = rank_logs();
  logs.insert(logs.begin(), predictions());
  std::erase_if(logs, [](const fs::path& log) {
    std::error_code ec;
    return !fs::exists(log, ec) || fs::file_size(log, ec) == 0;
  });
  return logs;
}

void RunFolder::remove_rank_logs() const {
  for (const fs::path& path : rank_logs()) remove_file(path);
}

void RunFolder::check_settings(const Json& settings) const {
  const Json earlier = read_json(path_ / kRun);
  std::vector<std::string> keys;
  for (const Json* side : {&settings, &earlier}) {
    for (const auto& [key, value] : side->items()) keys.push_back(key);
  }
  for (const std::string& key : keys) {
    const Json now = settings.contains(key) ? settings.at(key) : Json();
    const Json then = earlier.is_object() && earlier.contains(key) ? earlier.at(key) : Json();
    check(now == then,
          ErrorKind::Usage,
          "{}: expected a run with {} {}, it holds one with {} (take another --output_dir, or "
          "--overwrite)",
          path_.string(),
          key,
          now.dump(),
          then.dump());
  }
}

bool RunFolder::take_up(const Json& settings, bool overwrite) {
  std::error_code ec;
  fs::create_directories(path_, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", path_.string(), ec.message());
  lock();
  if (overwrite) {
    remove_rank_logs();
    for (const char* name : {kPredictions, "results.json", "printed.txt", kRun})
      remove_file(path_ / name);
  }
  if (fs::exists(path_ / kRun, ec)) {
    check_settings(settings);
    for (const fs::path& log : logs()) remove_torn_line(log);
    return true;
  }
  check(!fs::exists(predictions(), ec) && rank_logs().empty(),
        ErrorKind::Usage,
        "{}: expected a new directory or an earlier run, got predictions without run.json (take "
        "another --output_dir, or --overwrite)",
        path_.string());
  write_json(path_ / kRun, settings);
  return false;
}

}  // namespace vmla
