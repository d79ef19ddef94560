// An HF model directory as config + the names, types and shapes of its tensors, whatever its
// shards, container and naming generation. No tensor is read, and no libtorch is needed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/safetensors_file.h"
#include "checkpoint/torch_archive.h"

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

class CheckpointHeaders {
 public:
  // Reads config.json and the headers of all shards: model.safetensors,
  // model.safetensors.index.json + shards, pytorch_model.bin or its index. Errors: Io (missing
  // directory or shard), Config (config.json), Checkpoint (damage, a tensor in two shards, an index
  // that names a file outside the directory or a tensor that its shard lacks).
  static CheckpointHeaders open(const fs::path& dir);

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
  std::uint64_t weight_bytes() const;

 protected:
  struct Entry {
    TensorInfo info;
    std::string stored;                            // the name in the file
    std::shared_ptr<const SafetensorsFile> shard;  // null for pytorch_model.bin
  };
  const Entry& entry(const std::string& name) const;
  const std::vector<std::shared_ptr<const TorchArchive>>& archives() const { return archives_; }

 private:
  void add(const std::string& stored, Entry entry);

  fs::path dir_;
  Json config_;
  NameStyle name_style_ = NameStyle::Legacy;
  std::map<std::string, Entry> entries_;                       // by canonical name
  std::vector<std::shared_ptr<const TorchArchive>> archives_;  // of pytorch_model.bin
};

}  // namespace vmla
