// The model that a run starts from, and how it is written back in the same form.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_writer.h"
#include "model/vlm.h"
#include "train/training_options.h"

namespace vmla {

class ModelSource {
 public:
  // Reads options.model_path; with random_init only config.json is needed there (with keep_tower
  // the tower's tensors, too; others are not looked at), and weights are drawn. Errors: as
  // load_vlm; Unsupported for a random model whose selection needs ranks.
  explicit ModelSource(const TrainingOptions& options);

  std::unique_ptr<Vlm> load(at::Device device, at::ScalarType dtype) const;
  const fs::path& dir() const { return dir_; }

  // Every tensor of the output under the name and in the type that the source has (a random model:
  // Hugging Face's names and config.json's type).
  std::vector<TensorSpec> stored_specs() const;
  std::string stored_name(const std::string& canonical) const;
  at::ScalarType stored_dtype(const std::string& canonical) const;
  // Copies all tensors whose canonical name is not in `written`.
  void copy_rest(const std::set<std::string>& written, CheckpointWriter& writer) const;
  // config.json, tokenizer and processor files, ranks; into dir, which will be renamed to
  // final_dir.
  void write_files(const fs::path& dir, const fs::path& final_dir) const;

 private:
  void read_tower();                              // into random_
  std::vector<std::string> stored_names() const;  // canonical ones
  // The rank file's name; empty when the model needs none.
  std::string write_ranks(const fs::path& dir) const;

  fs::path dir_;
  RopeDimsSource rope_;
  Json config_;
  ModelConfig model_;
  std::optional<Checkpoint> checkpoint_;      // none for a random model
  std::map<std::string, at::Tensor> random_;  // all tensors of a random model
  at::ScalarType random_dtype_ = at::kFloat;
  std::vector<at::Tensor> rope_dims_;  // int64 [K, R] a layer; empty for MHA
};

}  // namespace vmla
