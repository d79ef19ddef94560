#include "model/load.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "checkpoint/staged_copy.h"
#include "model/latent_basis.h"

namespace vmla {

void read_weights(const Checkpoint& checkpoint,
                  const ParameterList& parameters,
                  at::ScalarType dtype,
                  at::Device device) {
  if (device.is_cpu()) {
    for (const NamedParameter& parameter : parameters) {
      *parameter.tensor = checkpoint.tensor(parameter.name)
                              .to(dtype, /*non_blocking=*/false, /*copy=*/true)
                              .contiguous();
      checkpoint.forget(parameter.name);
    }
    return;
  }
  std::vector<StagedTensor> staged;
  staged.reserve(parameters.size());
  for (const NamedParameter& parameter : parameters) {
    const std::string& name = parameter.name;
    staged.push_back({[&checkpoint, &name] { return checkpoint.tensor(name); },
                      parameter.tensor,
                      [&checkpoint, &name] { checkpoint.forget(name); }});
  }
  copy_staged(staged, dtype, device);
}

std::unique_ptr<Vlm> load_vlm(const Checkpoint& checkpoint, const LoadOptions& options) {
  const std::string subject = (checkpoint.dir() / "config.json").string();
  const Family& family = find_family(checkpoint.config(), subject);
  const ModelConfig config = family.parse_config(checkpoint.config(), subject);
  require_specs(checkpoint, family.tensor_specs(config));
  std::vector<at::Tensor> rope_dims;
  if (config.mla) rope_dims = load_rope_dims(checkpoint, config, options.rope);
  const at::ScalarType dtype = options.dtype.value_or(checkpoint_dtype(checkpoint));
  auto model = std::make_unique<Vlm>(config, rope_dims, options.device, dtype);
  read_weights(checkpoint, model->parameters(), dtype, options.device);
  release_staging(options.device);
  if (options.spread_latents) spread_latents(*model);
  if (options.merge_projections && options.device.is_cuda()) merge_projections(*model);
  return model;
}

void merge_projections(Vlm& model) {
  for (DecoderLayer& layer : model.decoder().layers) {
    layer.self_attn->merge_projections();
    layer.mlp.merge_projections();
    if (!model.device().is_cpu()) c10::getDeviceAllocator(model.device().type())->emptyCache();
  }
}

std::unique_ptr<Vlm> load_vlm(const fs::path& dir, const LoadOptions& options) {
  return load_vlm(Checkpoint::open(dir), options);
}

at::Device parse_device(const std::string& name) {
  const bool has_cuda = at::globalContext().hasCUDA();
  if (name == "auto") return has_cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cpu") return at::kCPU;
  if (name == "cuda" || name.rfind("cuda:", 0) == 0) {
    check(has_cuda,
          ErrorKind::Device,
          "device: expected a CUDA device for {}, found none (try --device cpu)",
          name);
    try {
      const at::Device device(name);
      return device.has_index() ? device : at::Device(at::kCUDA, 0);
    } catch (const c10::Error&) {
      fail(ErrorKind::Usage, "device: expected auto, cpu, cuda or cuda:N, got {}", name);
    }
  }
  fail(ErrorKind::Usage, "device: expected auto, cpu, cuda or cuda:N, got {}", name);
}

}  // namespace vmla
