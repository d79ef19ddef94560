#include "data/dataset_files.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"

namespace vmla {

void write_file(const fs::path& path, const char* data, std::size_t size) {
  std::ofstream out(path, std::ios::binary);
  out.write(data, static_cast<std::streamsize>(size));
  out.close();
  check(out.good(), ErrorKind::Io, "{}: writing failed", path.string());
}

void parallel_for(std::int64_t count,
                  std::int64_t threads,
                  const std::function<void(std::int64_t)>& act) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (std::int64_t i = next++; i < count; i = next++) act(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> pool;
  for (std::int64_t i = 1; i < std::min(threads, count); ++i) pool.emplace_back(run);
  run();
  for (std::thread& thread : pool) thread.join();
  if (error) std::rethrow_exception(error);
}

ListWriter::ListWriter(fs::path path, const std::string& head)
    : path_(std::move(path)), out_(path_) {
  out_ << head << "[\n";
}

void ListWriter::add(const Json& entry) {
  out_ << (first_ ? "" : ",\n") << entry.dump();
  first_ = false;
}

void ListWriter::finish(const std::string& tail) {
  out_ << "\n]" << tail << "\n";
  out_.close();
  check(out_.good(), ErrorKind::Io, "{}: writing failed", path_.string());
}

}  // namespace vmla
