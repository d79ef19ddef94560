// Model directories of real sizes whose weights are the zeros of sparse files. No libtorch.
#pragma once

#include <fmt/format.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"
#include "model/family.h"

namespace vmla::test {

// config.json and safetensors shards as save_pretrained cuts them; false where the file system has
// no sparse files.
inline bool write_sparse_model(const fs::path& dir,
                               const Json& config,
                               at::ScalarType dtype = at::ScalarType::BFloat16,
                               std::uint64_t max_shard_bytes = 5'000'000'000) {
  const Family& family = find_family(config, "config");
  fs::create_directories(dir);
  write_json(dir / "config.json", config);
  std::vector<std::map<std::string, TensorInfo>> shards(1);
  std::uint64_t total = 0, in_shard = 0;
  for (const TensorSpec& spec : family.tensor_specs(family.parse_config(config, "config"))) {
    const std::uint64_t bytes = checked_bytes(spec.shape, dtype, spec.name);
    if (in_shard > 0 && in_shard + bytes > max_shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back()[spec.name] = {dtype, spec.shape};
    in_shard += bytes;
    total += bytes;
  }
  WeightMap weight_map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    const std::string header = make_safetensors_header(shards[i], {{"format", "pt"}});
    std::uint64_t end = 0;
    for (const auto& [name, info] : shards[i]) {
      weight_map[name] = file;
      end = std::max(end, info.end);
    }
    std::ofstream(dir / file, std::ios::binary) << header;
    std::error_code ec;
    fs::resize_file(dir / file, header.size() + end, ec);
    if (ec) return false;
  }
  write_shard_index(dir / "model.safetensors.index.json", weight_map, total);
  return true;
}

}  // namespace vmla::test
