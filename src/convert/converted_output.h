// The directory that a conversion writes.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_writer.h"

namespace vmla {

// What --overwrite may replace: an empty directory or a model, but never the source. Errors: Usage.
void check_output_dir(const fs::path& model, const fs::path& output_dir, bool overwrite);

// Writes the output's tensors by canonical name and knows which are still to come.
class ConvertedOutput {
 public:
  // specs: canonical names, all of one dtype.
  ConvertedOutput(const fs::path& dir, const std::vector<TensorSpec>& specs, NameStyle style);

  // Errors: Numeric when the value leaves float16's range, where that is the dtype.
  void write(const std::string& name, const at::Tensor& tensor);
  // Everything that was not written comes from the source as it is.
  void copy_rest(const Checkpoint& source, const std::atomic<bool>* cancel);
  void finish() { writer_.finish(); }
  std::uint64_t bytes() const { return writer_.total_bytes(); }

 private:
  std::vector<TensorSpec> specs_;
  NameStyle style_;
  CheckpointWriter writer_;
  std::set<std::string> written_;
};

// transformers 4 spells it torch_dtype, 5 dtype; either may stand in the parts' configs, too.
void set_config_dtype(Json& config, at::ScalarType dtype);

}  // namespace vmla
