// The committed goldens (tests/golden/README.md), read with our own reader.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/safetensors_file.h"

namespace vmla::test {

inline std::filesystem::path golden_dir() {
  return "tests/golden";
}

// All tensors of a file, copied.
inline std::map<std::string, at::Tensor> read_golden(const std::filesystem::path& relative) {
  const auto file = SafetensorsFile::open(golden_dir() / relative);
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, info] : file->tensors()) out[name] = file->tensor(name).clone();
  return out;
}

// A copy of the directory `base` with the files of `overlay` laid over it, under `to`.
inline void overlay_model(const std::filesystem::path& base,
                          const std::filesystem::path& overlay,
                          const std::filesystem::path& to) {
  namespace fs = std::filesystem;
  fs::create_directories(to);
  fs::copy(base, to, fs::copy_options::recursive);
  for (const auto& entry : fs::directory_iterator(overlay)) {
    fs::copy_file(entry.path(), to / entry.path().filename(), fs::copy_options::overwrite_existing);
  }
}

}  // namespace vmla::test
