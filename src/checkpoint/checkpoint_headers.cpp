#include "checkpoint/checkpoint_headers.h"

#include <set>

#include "base/error.h"
#include "base/quote.h"
#include "checkpoint/shard_index.h"

namespace vmla {
namespace {

struct WeightFiles {
  std::vector<fs::path> files;
  bool safetensors = true;
  WeightMap weight_map;  // empty without an index
  fs::path index;
};

// The order in which transformers looks.
WeightFiles find_weights(const fs::path& dir) {
  std::error_code ec;
  for (const auto& [stem, safetensors] :
       {std::pair("model.safetensors", true), std::pair("pytorch_model.bin", false)}) {
    WeightFiles found;
    found.safetensors = safetensors;
    if (fs::exists(dir / stem, ec)) {
      found.files.push_back(dir / stem);
      return found;
    }
    found.index = dir / (std::string(stem) + ".index.json");
    if (fs::exists(found.index, ec)) {
      found.weight_map = read_shard_index(found.index);
      std::set<std::string> names;
      for (const auto& [tensor, file] : found.weight_map) {
        if (!names.insert(file).second) continue;
        check(fs::is_regular_file(dir / file, ec),
              ErrorKind::Io,
              "{}: expected shard {} (named by {}), found none",
              dir.string(),
              quote(file),
              found.index.filename().string());
      }
      for (const std::string& name : names) found.files.push_back(dir / name);
      return found;
    }
  }
  fail(ErrorKind::Io,
       "{}: expected model.safetensors, pytorch_model.bin or an index of either, found none",
       dir.string());
}

}  // namespace

void CheckpointHeaders::add(const std::string& stored, Entry entry) {
  entry.stored = stored;
  const std::string name = canonical_name(stored);
  const auto [it, fresh] = entries_.try_emplace(name, std::move(entry));
  check(fresh,
        ErrorKind::Checkpoint,
        "{}: expected each tensor once, got {} and {}",
        dir_.string(),
        quote(it->second.stored),
        quote(stored));
}

CheckpointHeaders CheckpointHeaders::open(const fs::path& dir) {
  std::error_code ec;
  check(fs::is_directory(dir, ec),
        ErrorKind::Io,
        "{}: expected a model directory, found none",
        dir.string());
  CheckpointHeaders checkpoint;
  checkpoint.dir_ = dir;
  checkpoint.config_ = read_json(dir / "config.json");
  check(checkpoint.config_.is_object(),
        ErrorKind::Config,
        "{}: expected an object, got {}",
        (dir / "config.json").string(),
        json_type_name(checkpoint.config_));

  const WeightFiles weights = find_weights(dir);
  WeightMap held_by;  // stored name -> file, as found
  const auto note = [&](const std::string& stored, const fs::path& file) {
    const auto [it, fresh] = held_by.try_emplace(stored, file.filename().string());
    check(fresh,
          ErrorKind::Checkpoint,
          "{}: expected tensor {} in one shard, found it in {} and {}",
          dir.string(),
          quote(stored),
          it->second,
          file.filename().string());
  };
  for (const fs::path& path : weights.files) {
    if (weights.safetensors) {
      const auto shard = SafetensorsFile::open(path);
      for (const auto& [stored, info] : shard->tensors()) {
        note(stored, path);
        checkpoint.add(stored, {info, {}, shard});
      }
    } else {
      const auto archive = std::make_shared<const TorchArchive>(MappedFile::open(path));
      for (const auto& [stored, tensor] : named_tensors(*archive)) {
        note(stored, path);
        const TensorInfo info{tensor.storage.dtype, tensor.sizes, 0, tensor.bytes};
        checkpoint.add(stored, {info, {}, nullptr});
      }
      checkpoint.archives_.push_back(archive);
    }
  }
  for (const auto& [stored, file] : weights.weight_map) {
    const auto it = held_by.find(stored);
    check(it != held_by.end() && it->second == file,
          ErrorKind::Checkpoint,
          "{}: expected tensor {} in {} as {} says, found it {}",
          dir.string(),
          quote(stored),
          quote(file),
          weights.index.filename().string(),
          it == held_by.end() ? "nowhere" : "in " + it->second);
  }

  std::size_t current = 0;
  std::size_t legacy = 0;
  for (const auto& [name, entry] : checkpoint.entries_) {
    if (entry.stored != name) ++current;
    if (entry.stored == name && stored_name(name, NameStyle::Current) != name) ++legacy;
  }
  checkpoint.name_style_ = current > legacy ? NameStyle::Current : NameStyle::Legacy;
  return checkpoint;
}

std::vector<std::string> CheckpointHeaders::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

bool CheckpointHeaders::contains(const std::string& name) const {
  return entries_.count(name) > 0;
}

const CheckpointHeaders::Entry& CheckpointHeaders::entry(const std::string& name) const {
  const auto it = entries_.find(name);
  check(it != entries_.end(),
        ErrorKind::Checkpoint,
        "{}: expected tensor {}, found none",
        dir_.string(),
        quote(name));
  return it->second;
}

const TensorInfo& CheckpointHeaders::info(const std::string& name) const {
  return entry(name).info;
}

const std::string& CheckpointHeaders::stored_as(const std::string& name) const {
  return entry(name).stored;
}

std::uint64_t CheckpointHeaders::weight_bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, entry] : entries_) total += entry.info.bytes();
  return total;
}

}  // namespace vmla
