// The zip container of torch.save: which records it must have, and how storages lie in it.
#pragma once

#include <memory>

#include "base/mapped_file.h"
#include "checkpoint/unpickler.h"

namespace vmla {

// Tensors are views of the mapped file where the format allows. Checksums are verified (torch can
// be told not to write any; then they are zero). Errors: ErrorKind::Checkpoint.
UnpickledFile read_torch_archive(const std::shared_ptr<const MappedFile>& file);

}  // namespace vmla
