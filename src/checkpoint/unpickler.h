// Reads the pickle of a torch.save file. It builds tensors, strings, numbers, tuples and dicts of
// them; every opcode and every global that could do anything else is refused.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace vmla {

struct StorageId {
  std::string key;  // of the entry data/KEY
  at::ScalarType dtype = at::kByte;
  std::int64_t count = 0;  // elements
};

// A flat tensor [count] of the storage's elements.
using StorageLoader = std::function<at::Tensor(const StorageId&)>;

struct UnpickledFile {
  bool is_tensor = false;
  at::Tensor tensor;                        // when is_tensor
  std::map<std::string, at::Tensor> named;  // else: the dict
};

// Errors: ErrorKind::Checkpoint.
UnpickledFile unpickle_tensors(std::span<const std::byte> pickle,
                               const StorageLoader& load,
                               const std::string& subject);

}  // namespace vmla
