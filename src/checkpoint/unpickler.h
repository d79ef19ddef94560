// Reads the pickle of a torch.save file. It builds descriptions of tensors, strings, numbers,
// tuples and dicts of them; every opcode and every global that could do anything else is refused.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vmla {

struct StorageId {
  std::string key;  // of the entry data/KEY
  at::ScalarType dtype = at::ScalarType::Byte;
  std::int64_t count = 0;  // elements
};

// A view of a storage, checked to stay within it. A tensor without elements need not.
struct PickledTensor {
  StorageId storage;
  std::int64_t offset = 0;  // elements, as strides
  std::vector<std::int64_t> sizes, strides;
  std::uint64_t bytes = 0;  // of the elements, packed
};

// Throws unless the file holds the storage.
using StorageCheck = std::function<void(const StorageId&)>;

struct PickledTensors {
  bool is_tensor = false;
  PickledTensor tensor;                        // when is_tensor
  std::map<std::string, PickledTensor> named;  // else: the dict
};

// Errors: ErrorKind::Checkpoint.
PickledTensors unpickle_tensors(std::span<const std::byte> pickle,
                                const StorageCheck& check_storage,
                                const std::string& subject);

}  // namespace vmla
