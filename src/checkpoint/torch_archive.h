// The zip container of torch.save: which records it must have, which tensors it holds, and where
// their bytes lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/mapped_file.h"
#include "checkpoint/unpickler.h"
#include "checkpoint/zip_reader.h"

namespace vmla {

class TorchArchive {
 public:
  // Reads the directory and the pickle, whose checksums are verified (torch can be told not to
  // write any; then they are zero); of the tensors' bytes only that they are there. Errors: Io
  // (missing), Checkpoint.
  explicit TorchArchive(std::shared_ptr<const MappedFile> file);

  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  const PickledTensors& tensors() const { return tensors_; }
  // Where the storage of one of the tensors begins in the file, its checksum verified.
  // Errors: Checkpoint.
  std::uint64_t storage_begin(const StorageId& id) const;

 private:
  const ZipEntry& entry(const std::string& name) const;
  std::span<const std::byte> read(const std::string& name) const;
  void check_byte_order() const;
  void check_storage(const StorageId& id) const;

  std::shared_ptr<const MappedFile> file_;
  std::string subject_;
  std::map<std::string, ZipEntry> entries_;
  std::string prefix_;
  PickledTensors tensors_;
};

// What the archive holds, when it is a dict of named tensors or one bare tensor. Errors: Checkpoint
// when it is the other.
const std::map<std::string, PickledTensor>& named_tensors(const TorchArchive& archive);
const PickledTensor& bare_tensor(const TorchArchive& archive);

}  // namespace vmla
