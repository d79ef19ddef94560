#include "model/random_vlm.h"

#include <ATen/ATen.h>

#include <map>

#include "base/error.h"

namespace vmla {

std::unique_ptr<Vlm> random_vlm(const Json& json,
                                const std::string& subject,
                                const LoadOptions& options) {
  const Family& family = find_family(json, subject);
  const ModelConfig config = family.parse_config(json, subject);
  std::vector<at::Tensor> rope_dims;
  if (config.mla && config.mla->is_shared()) {
    rope_dims = shared_frequencies(*config.mla);
  } else if (config.mla) {
    check(!config.mla->rope.needs_ranks(),
          ErrorKind::Usage,
          "{}: random weights need a partial_rope_version without ranks (high, low, uniform)",
          subject);
    rope_dims.assign(
        static_cast<std::size_t>(config.text.num_hidden_layers),
        kept_rope_dims(
            config.mla->rope, config.text.num_key_value_heads, config.text.head_dim, {}));
  }
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const TensorSpec& spec : family.tensor_specs(config)) shapes[spec.name] = spec.shape;
  const auto tensor_options =
      at::TensorOptions().device(options.device).dtype(options.dtype.value_or(at::kBFloat16));
  auto model = std::make_unique<Vlm>(
      config, rope_dims, options.device, options.dtype.value_or(at::kBFloat16));
  for (const NamedParameter& parameter : model->parameters()) {
    at::Tensor tensor = at::zeros(shapes.at(parameter.name), tensor_options);
    if (tensor.dim() > 1) {
      tensor.normal_(0.0, 0.02);
    } else if (parameter.name.find("norm") != std::string::npos &&
               !parameter.name.ends_with(".bias")) {
      tensor.fill_(1.0);
    }
    *parameter.tensor = tensor;
  }
  if (options.merge_projections && options.device.is_cuda()) merge_projections(*model);
  return model;
}

}  // namespace vmla
