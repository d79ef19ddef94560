// One memory-mapped .safetensors file, checked in full when it is opened.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/tensor_info.h"

namespace at {
class Tensor;
}

namespace vmla {

class SafetensorsFile : public std::enable_shared_from_this<SafetensorsFile> {
 public:
  // Every rule of the format is checked here (shared/reference F.1): header length, UTF-8, JSON,
  // contiguous ordered offsets, sizes against shapes with overflow checks, exact file length.
  // Errors: ErrorKind::Io (missing file), ErrorKind::Checkpoint (damage; the message names file and
  // tensor).
  static std::shared_ptr<const SafetensorsFile> open(const fs::path& path);

  const fs::path& path() const { return file_->path(); }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  bool contains(const std::string& name) const { return tensors_.count(name) > 0; }
  // Errors: ErrorKind::Checkpoint when there is no such tensor; so for tensor and forget.
  const TensorInfo& info(const std::string& name) const;
  // A read-only CPU view of the mapped bytes; it keeps the mapping alive. Do not write to it.
  at::Tensor tensor(const std::string& name) const;
  // Drops the tensor's pages from memory (they are read again when touched).
  void forget(const std::string& name) const;

 private:
  SafetensorsFile() = default;
  std::shared_ptr<const MappedFile> file_;
  std::uint64_t data_begin_ = 0;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace vmla
