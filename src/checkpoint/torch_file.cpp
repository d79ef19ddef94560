#include "checkpoint/torch_file.h"

#include "base/error.h"

namespace vmla {

std::map<std::string, at::Tensor> read_torch_state_dict(const fs::path& path) {
  fail(ErrorKind::Unsupported, "{}: expected safetensors, got a torch file", path.string());
}

}  // namespace vmla
