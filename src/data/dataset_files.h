// Writing a data set's files, several at a time.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>

#include "base/files.h"
#include "base/json.h"

namespace vmla {

// Errors: Io.
void write_file(const fs::path& path, const char* data, std::size_t size);

// act(i) for i in 0 .. count-1; the first error ends it.
void parallel_for(std::int64_t count,
                  std::int64_t threads,
                  const std::function<void(std::int64_t)>& act);

// A JSON list, one entry a line, that is never in memory as a whole.
class ListWriter {
 public:
  ListWriter(fs::path path, const std::string& head);
  void add(const Json& entry);
  void finish(const std::string& tail);  // Errors: Io

 private:
  fs::path path_;
  std::ofstream out_;
  bool first_ = true;
};

}  // namespace vmla
