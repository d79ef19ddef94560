// Files of torch.save (zip container) read without running anything: the unpickler knows tensors,
// OrderedDict and plain containers of them, and refuses every other opcode and global.
#pragma once

#include <torch/types.h>

#include <map>
#include <string>

#include "base/files.h"
#include "checkpoint/torch_archive.h"

namespace vmla {

// A state dict: {name: tensor}, views of the mapped file where the format allows. Errors: Io
// (missing), Checkpoint (damage, anything but tensors, legacy format, compressed entries, big
// endian, strides or sizes outside the storage).
std::map<std::string, at::Tensor> read_torch_state_dict(const fs::path& path);
std::map<std::string, at::Tensor> read_torch_state_dict(const TorchArchive& archive);

// A file that holds one bare tensor.
at::Tensor read_torch_tensor(const fs::path& path);
at::Tensor read_torch_tensor(const TorchArchive& archive);

// Written so that torch.load(weights_only=True) reads it.
void write_torch_tensor(const fs::path& path, const at::Tensor& tensor);

}  // namespace vmla
