// An HF model directory as config + named tensors.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>

#include "checkpoint/checkpoint_headers.h"

namespace vmla {

class Checkpoint : public CheckpointHeaders {
 public:
  // No tensor data is touched for safetensors; the checksums of pytorch_model.bin are verified.
  // Errors: as CheckpointHeaders::open.
  static Checkpoint open(const fs::path& dir);

  // A CPU tensor in its stored dtype; a view of the mapped file for safetensors.
  // Errors: ErrorKind::Checkpoint when there is no such tensor.
  at::Tensor tensor(const std::string& name) const;
  // Lets the pages of a tensor go, so that streaming over all layers keeps memory flat.
  void forget(const std::string& name) const;

 private:
  struct Loaded {
    at::Tensor tensor;
    std::shared_ptr<const MappedFile> file;  // which tensor may view
  };

  explicit Checkpoint(CheckpointHeaders headers) : CheckpointHeaders(std::move(headers)) {}

  std::map<std::string, Loaded> loaded_;  // of pytorch_model.bin, by stored name
};

}  // namespace vmla
