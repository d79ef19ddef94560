// The identity of a model's weights, for the record of what was measured.
#pragma once

#include <atomic>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"

namespace vmla {

// What the hash is over: config.json, *.safetensors, pytorch_model*.bin and rope_ranks.pth, by
// name. Errors: ErrorKind::Io.
std::vector<std::string> model_hash_files(const fs::path& dir);

// Of the names, sizes and times of these files: another one when a file has been replaced, without
// reading it. Errors: ErrorKind::Io.
std::string model_stamp(const fs::path& dir);

// SHA-256 over every byte of these files, in the background: several files at a time, each streamed
// through its mapping. The result is what
//   cd DIR && sha256sum FILES… | sha256sum
// prints, with the files sorted by name.
class ModelHash {
 public:
  // Errors: ErrorKind::Io for a directory that cannot be listed.
  explicit ModelHash(const fs::path& dir);
  // Stops the work that is left.
  ~ModelHash();
  ModelHash(const ModelHash&) = delete;
  ModelHash& operator=(const ModelHash&) = delete;

  // Waits for the end. Errors: ErrorKind::Io.
  std::string hex();

 private:
  std::string file_hash(const std::string& name) const;
  void work();

  fs::path dir_;
  std::vector<std::string> names_;
  std::vector<std::string> hashes_;  // by name
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> stopped_{false};
  std::vector<std::future<void>> workers_;
  std::string hex_;
};

}  // namespace vmla
