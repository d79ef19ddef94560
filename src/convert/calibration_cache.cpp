#include "convert/calibration_cache.h"

#include <ATen/ATen.h>

#include <cstdlib>

#include "base/content_hash.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/dtype.h"
#include "checkpoint/torch_file.h"

namespace vmla {
namespace {

constexpr const char* kFormat = "vlm-mla calibration 1";

fs::path default_root() {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  const std::string root = xdg != nullptr && *xdg != '\0' ? xdg : "~/.cache";
  return absolute_path(root) / "vlm-mla" / "calibration";
}

}  // namespace

std::string checkpoint_hash(const Checkpoint& checkpoint) {
  ContentHash hash;
  hash.add(checkpoint.config().dump());
  for (const std::string& name : checkpoint.names()) {
    const at::Tensor tensor = checkpoint.tensor(name).contiguous();
    hash.add(name);
    hash.add(dtype_name(tensor.scalar_type()));
    hash.add(std::span(static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()));
    checkpoint.forget(name);
  }
  return hash.hex();
}

CalibrationCache::CalibrationCache(const fs::path& root,
                                   const Checkpoint& checkpoint,
                                   const CalibrationSet& set,
                                   at::ScalarType dtype) {
  ContentHash key;
  for (const std::string& part : {std::string(kFormat),
                                  checkpoint_hash(checkpoint),
                                  set.content_hash(),
                                  std::string(dtype_name(dtype))})
    key.add(part);
  dir_ = (root.empty() ? default_root() : absolute_path(root.string())) / key.hex();
}

std::optional<at::Tensor> CalibrationCache::read(const std::string& name,
                                                 at::IntArrayRef sizes) const {
  const fs::path file = dir_ / (name + ".pth");
  std::error_code ec;
  if (!fs::exists(file, ec)) return std::nullopt;
  try {
    const at::Tensor tensor = read_torch_tensor(file);
    if (tensor.scalar_type() == at::kDouble && tensor.sizes() == sizes) return tensor.clone();
    log_warning("{}: holds something else; it is computed again", file.string());
  } catch (const Error& e) {
    log_warning("{}; it is computed again", e.what());
  }
  return std::nullopt;
}

void CalibrationCache::write(const std::string& name, const at::Tensor& tensor) const {
  std::error_code ec;
  fs::create_directories(dir_, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be made: {}", dir_.string(), ec.message());
  write_torch_tensor(dir_ / (name + ".pth"), tensor);
}

}  // namespace vmla
