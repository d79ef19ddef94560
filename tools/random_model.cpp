#include "random_model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

#include "checkpoint/checkpoint_writer.h"
#include "model/family.h"

namespace vmla {
namespace {

constexpr double kStandardDeviation = 0.02;
constexpr std::int64_t kChunk = 16 << 20;  // elements; single precision of one chunk at a time

bool is_norm_weight(const std::string& name) {
  return name.find("norm") != std::string::npos && name.ends_with(".weight");
}

at::Tensor random_tensor(const TensorSpec& spec, at::Generator& generator) {
  at::Tensor flat = at::empty(spec.shape, spec.dtype).reshape(-1);
  for (std::int64_t at = 0; at < flat.numel(); at += kChunk) {
    const std::int64_t count = std::min(kChunk, flat.numel() - at);
    flat.narrow(0, at, count)
        .copy_(at::empty({count}, at::kFloat).normal_(0.0, kStandardDeviation, generator));
  }
  return flat.reshape(spec.shape);
}

}  // namespace

void write_random_model(const fs::path& dir,
                        const Json& config,
                        std::uint64_t seed,
                        at::ScalarType dtype) {
  const Family& family = find_family(config, "config.json");
  std::vector<TensorSpec> specs = family.tensor_specs(family.parse_config(config, "config.json"));
  for (TensorSpec& spec : specs) spec.dtype = dtype;
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  fs::create_directories(dir);
  write_json(dir / "config.json", config);
  CheckpointWriter writer(dir, specs);
  for (const TensorSpec& spec : specs) {
    writer.write(spec.name,
                 is_norm_weight(spec.name) ? at::ones(spec.shape, spec.dtype)
                                           : random_tensor(spec, generator));
  }
  writer.finish();
}

}  // namespace vmla
