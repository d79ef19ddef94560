#include "checkpoint/torch_file.h"

#include <ATen/ATen.h>

#include <utility>

#include "checkpoint/mapped_tensor.h"

namespace vmla {
namespace {

// Tensors that share a storage in the file share it here.
class Views {
 public:
  explicit Views(const TorchArchive& archive) : archive_(archive) {}

  at::Tensor operator()(const PickledTensor& pickled) {
    const StorageId& id = pickled.storage;
    if (pickled.bytes == 0) return at::empty(pickled.sizes, id.dtype);
    at::Tensor& flat = storages_[{id.key, id.dtype}];
    if (!flat.defined()) {
      flat = mapped_tensor(archive_.file(), archive_.storage_begin(id), {id.count}, id.dtype);
    }
    return flat.as_strided(pickled.sizes, pickled.strides, pickled.offset);
  }

 private:
  const TorchArchive& archive_;
  std::map<std::pair<std::string, at::ScalarType>, at::Tensor> storages_;
};

}  // namespace

std::map<std::string, at::Tensor> read_torch_state_dict(const TorchArchive& archive) {
  Views views(archive);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, pickled] : named_tensors(archive)) tensors[name] = views(pickled);
  return tensors;
}

std::map<std::string, at::Tensor> read_torch_state_dict(const fs::path& path) {
  return read_torch_state_dict(TorchArchive(MappedFile::open(path)));
}

at::Tensor read_torch_tensor(const TorchArchive& archive) {
  return Views(archive)(bare_tensor(archive));
}

at::Tensor read_torch_tensor(const fs::path& path) {
  return read_torch_tensor(TorchArchive(MappedFile::open(path)));
}

}  // namespace vmla
