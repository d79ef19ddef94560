// Small random models made in memory, for what no golden covers.
#pragma once

#include <torch/types.h>

#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "model/family.h"
#include "model/vlm.h"
#include "nn/kept_rope_dims.h"

namespace vmla::test {

// Defaults: two layers, E 64, V 128, H = K = 4, D 16, images of 4 patches; image token 127.
struct TinyShape {
  std::int64_t layers = 2, heads = 4, kv_heads = 4, head_dim = 16, hidden = 64, vocab = 128;
  bool qkv_bias = false;
  std::optional<SvdMethod> mla;  // converted when set
  bool decoupled = false;        // with Joint: factors by modality
  std::string rope_version = "high";
  std::int64_t rope_dim = 8;
  std::int64_t low_rank = 4;                   // C = low_rank * kv_heads
  std::vector<SharedRopeLayer> shared_layers;  // instead of mla: converted to the layout "shared"
  std::uint64_t seed = 1;
};

inline ModelConfig tiny_config(const TinyShape& shape) {
  ModelConfig config;
  config.architecture = "LlavaForConditionalGeneration";
  config.model_type = "llava";
  TextConfig& text = config.text;
  text.vocab_size = shape.vocab;
  text.hidden_size = shape.hidden;
  text.intermediate_size = 96;
  text.num_hidden_layers = shape.layers;
  text.num_attention_heads = shape.heads;
  text.num_key_value_heads = shape.kv_heads;
  text.head_dim = shape.head_dim;
  text.qkv_bias = shape.qkv_bias;
  VisionConfig& vision = config.vision;
  vision.hidden_size = 32;
  vision.intermediate_size = 48;
  vision.num_hidden_layers = 3;
  vision.num_attention_heads = 2;
  vision.image_size = 28;
  vision.patch_size = 14;
  config.image_token_id = shape.vocab - 1;
  if (shape.mla) {
    MlaConfig mla;
    mla.rope.version = shape.rope_version;
    mla.rope.rope_dim = shape.rope_dim;
    mla.svd_init_method = *shape.mla;
    mla.low_rank = shape.low_rank;
    mla.decoupled = shape.decoupled;
    config.mla = mla;
  }
  if (!shape.shared_layers.empty()) config.mla.emplace().shared_layers = shape.shared_layers;
  return config;
}

// Random weights of a size that keeps activations O(1) and attention peaked. rope_version "2-norm"
// takes random ranks. The same shape and seed give the same model.
inline std::unique_ptr<Vlm> make_tiny_model(const TinyShape& shape,
                                            at::ScalarType dtype = at::kFloat,
                                            at::Device device = at::kCPU) {
  const ModelConfig config = tiny_config(shape);
  auto random = at::detail::createCPUGenerator(shape.seed);
  std::vector<at::Tensor> rope_dims;
  for (const SharedRopeLayer& layer : shape.shared_layers)
    rope_dims.push_back(at::tensor(layer.frequencies, at::kLong));
  for (std::int64_t layer = 0; shape.mla && layer < shape.layers; ++layer) {
    std::vector<at::Tensor> ranks;
    for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
      const at::Tensor half = at::randperm(shape.head_dim / 2, random).to(at::kByte);
      ranks.push_back(at::cat({half, half}));
    }
    rope_dims.push_back(
        kept_rope_dims(config.mla->rope, shape.kv_heads, shape.head_dim, at::stack(ranks)));
  }
  auto model = std::make_unique<Vlm>(config, rope_dims, device, dtype);
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& spec : families().front().tensor_specs(config)) shapes[spec.name] = spec.shape;
  for (const NamedParameter& parameter : model->parameters()) {
    const auto& size = shapes.at(parameter.name);
    const bool is_norm = parameter.name.find("norm") != std::string::npos;
    const bool is_bias = parameter.name.find("bias") != std::string::npos;
    const bool is_query_or_key = parameter.name.find("q_proj") != std::string::npos ||
                                 parameter.name.find("k_proj") != std::string::npos ||
                                 parameter.name.find("k_r_proj") != std::string::npos;
    double scale = size.size() == 1 ? 0.1 : 1.0 / std::sqrt(static_cast<double>(size.back()));
    if (parameter.name.find("embed") != std::string::npos) scale = 0.5;
    if (is_query_or_key) scale *= 2.0;
    at::Tensor value = at::randn(size, random) * scale;
    if (is_norm && !is_bias) value = value + 1.0;
    *parameter.tensor = value.to(device, dtype);
  }
  return model;
}

// Ids without image tokens, int64 [B, S].
inline at::Tensor tiny_ids(const TinyShape& shape,
                           std::int64_t rows,
                           std::int64_t tokens,
                           std::uint64_t seed = 7) {
  return at::randint(
      1, shape.vocab - 1, {rows, tokens}, at::detail::createCPUGenerator(seed), at::kLong);
}

}  // namespace vmla::test
