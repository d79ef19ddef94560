#include <ATen/ATen.h>

#include "checkpoint/mapped_tensor.h"
#include "checkpoint/safetensors_file.h"

namespace vmla {

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const TensorInfo& found = info(name);
  return mapped_tensor(file_, data_begin_ + found.begin, found.shape, found.dtype);
}

}  // namespace vmla
