// Tensors that view the bytes of a mapped file.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/mapped_file.h"

namespace vmla {

// A contiguous CPU tensor on the bytes at offset; it keeps the mapping alive. The caller has
// checked the range. Copied instead when the bytes are not aligned to the element, or might not be
// valid elements (bool). Errors: ErrorKind::Checkpoint when the file has changed its size since it
// was mapped (touching it would crash).
at::Tensor mapped_tensor(const std::shared_ptr<const MappedFile>& file,
                         std::uint64_t offset,
                         const std::vector<std::int64_t>& shape,
                         at::ScalarType dtype);

// Drops the pages under a tensor's storage if it views this file; leaves copies alone.
void forget_mapped(const MappedFile& file, const at::Tensor& tensor);

}  // namespace vmla
