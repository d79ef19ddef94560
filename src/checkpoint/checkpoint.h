// An HF model directory as config + named tensors, whatever its shards, container and naming
// generation.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/safetensors_file.h"

namespace vmla {

// How the directory spells tensor names. Files on the hub and files saved by transformers 5 carry
// Legacy; state dicts taken from a model in memory since 4.52 carry Current.
enum class NameStyle {
  Legacy,   // language_model.model.layers.0…, language_model.lm_head.weight, vision_tower.…,
            // multi_modal_projector.…
  Current,  // model.language_model.layers.0…, lm_head.weight, model.vision_tower.…,
            // model.multi_modal_projector.…
};

// Everything inside the program uses Legacy names ("canonical").
std::string canonical_name(const std::string& stored);
std::string stored_name(const std::string& canonical, NameStyle style);

class Checkpoint {
 public:
  // Reads config.json and the headers of all shards: model.safetensors,
  // model.safetensors.index.json + shards, pytorch_model.bin or its index. No tensor data is
  // touched for safetensors. Errors: Io (missing directory or shard), Config (config.json),
  // Checkpoint (damage, a tensor in two shards, an index that names a file outside the directory or
  // a tensor that its shard lacks).
  static Checkpoint open(const fs::path& dir);

  const fs::path& dir() const { return dir_; }
  const Json& config() const { return config_; }
  NameStyle name_style() const { return name_style_; }

  // Canonical names, sorted.
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  // Errors: ErrorKind::Checkpoint when there is no such tensor.
  const TensorInfo& info(const std::string& name) const;
  // How the file spells the name of a tensor that is there; for writing it back under the same one.
  const std::string& stored_as(const std::string& name) const;
  // A CPU tensor in its stored dtype; a view of the mapped file for safetensors.
  at::Tensor tensor(const std::string& name) const;
  // Lets the pages of a tensor go, so that streaming over all layers keeps memory flat.
  void forget(const std::string& name) const;
  std::uint64_t weight_bytes() const;

 private:
  struct Entry {
    TensorInfo info;
    std::string stored;                            // the name in the file
    std::shared_ptr<const SafetensorsFile> shard;  // null for pytorch_model.bin
    at::Tensor loaded;                             // only for pytorch_model.bin
    std::shared_ptr<const MappedFile> torch_file;  // which loaded may view
  };
  void add(const std::string& stored, Entry entry);
  const Entry& entry(const std::string& name) const;

  fs::path dir_;
  Json config_;
  NameStyle name_style_ = NameStyle::Legacy;
  std::map<std::string, Entry> entries_;  // by canonical name
};

}  // namespace vmla
