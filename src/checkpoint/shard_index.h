// model.safetensors.index.json and pytorch_model.bin.index.json: which file holds which tensor.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/files.h"

namespace vmla {

using WeightMap = std::map<std::string, std::string>;  // stored tensor name -> file name

// Errors: Io; Checkpoint for damage or a file name that leads out of the directory.
WeightMap read_shard_index(const fs::path& path);
void write_shard_index(const fs::path& path,
                       const WeightMap& weight_map,
                       std::uint64_t total_bytes);

}  // namespace vmla
