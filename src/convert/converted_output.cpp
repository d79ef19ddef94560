#include "convert/converted_output.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "checkpoint/dtype.h"

namespace vmla {
namespace {

bool is_inside(const fs::path& path, const fs::path& directory) {
  const fs::path relative = path.lexically_relative(directory);
  return !relative.empty() && *relative.begin() != "..";
}

std::vector<TensorSpec> stored_specs(std::vector<TensorSpec> specs, NameStyle style) {
  for (TensorSpec& spec : specs) spec.name = stored_name(spec.name, style);
  return specs;
}

}  // namespace

void check_output_dir(const fs::path& model, const fs::path& output_dir, bool overwrite) {
  std::error_code ec;
  const fs::path output = absolute_path(output_dir.string());
  if (!fs::exists(output, ec)) return;
  check(overwrite,
        ErrorKind::Usage,
        "{}: expected a new directory, it exists already (--overwrite replaces it)",
        output.string());
  check(!is_inside(fs::canonical(model), fs::canonical(output)),
        ErrorKind::Usage,
        "{}: expected another directory than the model's, which would be lost",
        output.string());
  check(fs::is_directory(output, ec) &&
            (fs::is_empty(output, ec) || fs::exists(output / "config.json", ec)),
        ErrorKind::Usage,
        "{}: expected a model directory to overwrite, found no config.json in it",
        output.string());
}

ConvertedOutput::ConvertedOutput(const fs::path& dir,
                                 const std::vector<TensorSpec>& specs,
                                 NameStyle style)
    : specs_(specs), style_(style), writer_(dir, stored_specs(specs, style)) {}

void ConvertedOutput::write(const std::string& name, const at::Tensor& tensor) {
  written_.insert(name);
  const at::ScalarType dtype = specs_.front().dtype;
  if (dtype == at::kHalf && tensor.scalar_type() != at::kHalf) {
    check(at::isfinite(tensor.to(at::kHalf)).all().item<bool>(),
          ErrorKind::Numeric,
          "{}: expected values within float16's range (try --torch_dtype bfloat16)",
          name);
  }
  writer_.write(stored_name(name, style_), tensor);
}

void ConvertedOutput::copy_rest(const Checkpoint& source, const std::atomic<bool>* cancel) {
  for (const TensorSpec& spec : specs_) {
    if (cancel != nullptr && *cancel) return;
    if (written_.count(spec.name) > 0) continue;
    write(spec.name, source.tensor(spec.name));
    source.forget(spec.name);
  }
}

void set_config_dtype(Json& config, at::ScalarType dtype) {
  bool found = false;
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (config.contains(key)) {
      config[key] = dtype_name(dtype);
      found = true;
    }
    for (const char* part : {"text_config", "vision_config"}) {
      const auto it = config.find(part);
      if (it != config.end() && it->is_object() && it->contains(key))
        (*it)[key] = dtype_name(dtype);
    }
  }
  if (!found) config["torch_dtype"] = dtype_name(dtype);
}

}  // namespace vmla
