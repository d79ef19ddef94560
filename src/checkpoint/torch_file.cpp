#include "checkpoint/torch_file.h"

#include "base/error.h"
#include "checkpoint/torch_archive.h"

namespace vmla {

std::map<std::string, at::Tensor> read_torch_state_dict(
    const std::shared_ptr<const MappedFile>& file) {
  UnpickledFile content = read_torch_archive(file);
  check(!content.is_tensor,
        ErrorKind::Checkpoint,
        "{}: expected a dict of named tensors, got one bare tensor",
        file->path().string());
  return std::move(content.named);
}

std::map<std::string, at::Tensor> read_torch_state_dict(const fs::path& path) {
  return read_torch_state_dict(MappedFile::open(path));
}

at::Tensor read_torch_tensor(const fs::path& path) {
  const UnpickledFile content = read_torch_archive(MappedFile::open(path));
  check(content.is_tensor,
        ErrorKind::Checkpoint,
        "{}: expected one bare tensor, got a dict of {} tensors",
        path.string(),
        content.named.size());
  return content.tensor;
}

}  // namespace vmla
