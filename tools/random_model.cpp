#include "random_model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "checkpoint/checkpoint_writer.h"
#include "model/family.h"

namespace vmla {
namespace {

constexpr double kStandardDeviation = 0.02;
constexpr std::int64_t kPart = 1 << 20;  // elements that one generator fills

bool is_norm_weight(const std::string& name) {
  return name.find("norm") != std::string::npos && name.ends_with(".weight");
}

// Parts behind the first are filled side by side, each from a seed of its own.
at::Tensor random_tensor(const TensorSpec& spec, at::Generator& generator, std::uint64_t& seed) {
  at::Tensor flat = at::empty(spec.shape, spec.dtype).reshape(-1);
  const std::int64_t parts = (flat.numel() + kPart - 1) / kPart;
  const std::uint64_t first_seed = seed;
  seed += static_cast<std::uint64_t>(parts);
  at::parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      at::Generator own = i == 0 ? generator
                                 : at::make_generator<at::CPUGeneratorImpl>(
                                       first_seed + static_cast<std::uint64_t>(i));
      at::Tensor part = flat.narrow(0, i * kPart, std::min(kPart, flat.numel() - i * kPart));
      part.copy_(at::empty(part.sizes(), at::kFloat).normal_(0.0, kStandardDeviation, own));
    }
  });
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
  std::uint64_t part_seed = seed + 1;
  fs::create_directories(dir);
  write_json(dir / "config.json", config);
  CheckpointWriter writer(dir, specs);
  for (const TensorSpec& spec : specs) {
    writer.write(spec.name,
                 is_norm_weight(spec.name) ? at::ones(spec.shape, spec.dtype)
                                           : random_tensor(spec, generator, part_seed));
  }
  writer.finish();
}

}  // namespace vmla
