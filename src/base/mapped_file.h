// A read-only memory-mapped file.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/files.h"

namespace vmla {

// Shared ownership lets tensors that view the bytes keep the mapping alive. Thread-safe: nothing
// changes.
class MappedFile {
 public:
  // Errors: ErrorKind::Io when the file is missing, a directory or cannot be mapped.
  static std::shared_ptr<const MappedFile> open(const fs::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const fs::path& path() const { return path_; }

  // Tells the kernel that pages of [begin, end) may be dropped, so that streaming keeps memory
  // flat.
  void forget(std::size_t begin, std::size_t end) const;

 private:
  MappedFile(fs::path path, const std::byte* data, std::size_t size);
  fs::path path_;
  const std::byte* data_;
  std::size_t size_;
};

}  // namespace vmla
