// A file of known size, written piecewise.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/files.h"

namespace vmla {

// All errors are ErrorKind::Io and name the path; a full disk is found when the file is made.
class OutputFile {
 public:
  OutputFile(fs::path path, std::uint64_t size);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::uint64_t offset, const void* data, std::uint64_t size);
  void write(std::uint64_t offset, std::string_view data) {
    write(offset, data.data(), data.size());
  }
  void close();
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  int fd_ = -1;
};

// Fills a temporary sibling, fsyncs and renames it: path appears whole or not at all.
void write_whole_file(const fs::path& path,
                      std::uint64_t size,
                      const std::function<void(OutputFile&)>& fill);

}  // namespace vmla
