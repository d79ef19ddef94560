// Statistics on disk, so that a sweep of budgets costs one calibration.
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>

#include "convert/calibration_data.h"

namespace vmla {

class Checkpoint;

// One directory a model and data, named by the content of both: a copy of the model finds it, other
// data do not.
class CalibrationCache {
 public:
  // root empty: $XDG_CACHE_HOME/vlm-mla/calibration, or below ~/.cache. dtype: of the forward pass.
  // Nothing is made before the first write.
  CalibrationCache(const fs::path& root,
                   const Checkpoint& checkpoint,
                   const CalibrationSet& set,
                   at::ScalarType dtype);

  const fs::path& dir() const { return dir_; }
  // A tensor of double of these sizes. Nothing when there is none, or when its checksum shows
  // damage, which is warned of.
  std::optional<at::Tensor> read(const std::string& name, at::IntArrayRef sizes) const;
  void write(const std::string& name, const at::Tensor& tensor) const;  // Errors: Io
 private:
  fs::path dir_;
};

// An identity of config and weights, wherever the directory lies.
std::string checkpoint_hash(const Checkpoint& checkpoint);

}  // namespace vmla
