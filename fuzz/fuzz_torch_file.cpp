// Any zip file or bare pickle is either refused or yields tensors whose every element can be read.
#include <ATen/ATen.h>

#include "base/mapped_file.h"
#include "checkpoint/torch_file.h"
#include "memory_file.h"
#include "require.h"

using namespace vmla;

namespace {

void touch_archive(const TorchArchive& archive) {
  if (archive.tensors().is_tensor) {
    read_torch_tensor(archive).to(at::kDouble).sum();
    return;
  }
  for (const auto& [name, tensor] : read_torch_state_dict(archive)) tensor.to(at::kDouble).sum();
}

void touch(const PickledTensor& t) {
  if (t.bytes == 0) return;
  const at::Tensor flat = at::zeros({t.storage.count}, t.storage.dtype);
  flat.as_strided(t.sizes, t.strides, t.offset).to(at::kDouble).sum();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepts(ErrorKind::Checkpoint, [&] {
    if (size > 0 && data[0] == 'P') {
      const fuzz::MemoryFile bytes(data, size);
      touch_archive(TorchArchive(MappedFile::open(bytes.path())));
    } else {
      const StorageCheck small = [](const StorageId& id) {
        check(id.count <= 4096, ErrorKind::Checkpoint, "fuzz: expected a small storage");
      };
      const PickledTensors tensors =
          unpickle_tensors(std::as_bytes(std::span(data, size)), small, "fuzz");
      if (tensors.is_tensor) touch(tensors.tensor);
      for (const auto& [name, tensor] : tensors.named) touch(tensor);
    }
  });
  return 0;
}
