// Writes sharded safetensors when all names, shapes and types are known in advance.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "checkpoint/tensor_info.h"

namespace vmla {

// Tensors may arrive in any order and are written at once at their final offset, so that memory
// stays flat. Files: model.safetensors when one shard suffices, else
// model-00001-of-0000N.safetensors and model.safetensors.index.json; metadata {"format":"pt"}, as
// save_pretrained writes them.
class CheckpointWriter {
 public:
  // dir must exist (usually AtomicDirectory::path()). Shards are filled in the order of specs. stem
  // stands for "model" in the files' names.
  CheckpointWriter(fs::path dir,
                   std::vector<TensorSpec> specs,
                   std::uint64_t max_shard_bytes = 5'000'000'000ULL,
                   std::string stem = "model");
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // The tensor is moved to the CPU and must have the declared shape; it is cast to the declared
  // dtype. Errors: Internal (unknown name, other shape, written twice), Io (disk full).
  void write(const std::string& name, const at::Tensor& tensor);
  // Errors: Internal when a declared tensor was never written; Io.
  void finish();
  std::uint64_t total_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A single file, whole; for dumps, goldens and optimizer state.
void write_safetensors(const fs::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors);

// Copies tokenizer, processor, template and generation files (all but weights, config.json and rank
// files) from one model directory to another.
void copy_sidecar_files(const fs::path& from, const fs::path& to);

}  // namespace vmla
