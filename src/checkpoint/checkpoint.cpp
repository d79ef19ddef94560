#include "checkpoint/checkpoint.h"

#include <ATen/ATen.h>

#include "checkpoint/mapped_tensor.h"
#include "checkpoint/torch_file.h"

namespace vmla {

Checkpoint Checkpoint::open(const fs::path& dir) {
  Checkpoint checkpoint(CheckpointHeaders::open(dir));
  for (const auto& archive : checkpoint.archives()) {
    for (const auto& [stored, tensor] : read_torch_state_dict(*archive))
      checkpoint.loaded_[stored] = {tensor, archive->file()};
  }
  return checkpoint;
}

at::Tensor Checkpoint::tensor(const std::string& name) const {
  const Entry& found = entry(name);
  return found.shard ? found.shard->tensor(found.stored) : loaded_.at(found.stored).tensor;
}

void Checkpoint::forget(const std::string& name) const {
  const Entry& found = entry(name);
  if (found.shard) {
    found.shard->forget(found.stored);
  } else {
    const Loaded& loaded = loaded_.at(found.stored);
    forget_mapped(*loaded.file, loaded.tensor);
  }
}

}  // namespace vmla
