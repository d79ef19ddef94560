// Any zip file or bare pickle is either refused or yields tensors whose every element can be read.
#include <ATen/ATen.h>

#include "base/mapped_file.h"
#include "checkpoint/torch_archive.h"
#include "checkpoint/unpickler.h"
#include "memory_file.h"
#include "require.h"

using namespace vmla;

namespace {

void touch(const UnpickledFile& content) {
  if (content.is_tensor) content.tensor.to(at::kDouble).sum();
  for (const auto& [name, tensor] : content.named) tensor.to(at::kDouble).sum();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepts(ErrorKind::Checkpoint, [&] {
    if (size > 0 && data[0] == 'P') {
      const fuzz::MemoryFile bytes(data, size);
      touch(read_torch_archive(MappedFile::open(bytes.path())));
    } else {
      const StorageLoader load = [](const StorageId& id) {
        check(id.count <= 4096, ErrorKind::Checkpoint, "fuzz: expected a small storage");
        return at::zeros({id.count}, id.dtype);
      };
      touch(unpickle_tensors(std::as_bytes(std::span(data, size)), load, "fuzz"));
    }
  });
  return 0;
}
