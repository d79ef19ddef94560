#include "model/clip_vision.h"

#include <ATen/ATen.h>

#include <cmath>

#include "nn/fused_attention.h"

namespace vmla {

ClipVisionTower::ClipVisionTower(const VisionConfig& config, std::int64_t layers)
    : config_(config), layers_(static_cast<std::size_t>(layers)) {
  pre_layrnorm_.eps = config.layer_norm_eps;
  for (auto& layer : layers_) {
    for (Linear* linear :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.out_proj, &layer.fc1, &layer.fc2}) {
      linear->has_bias = true;
    }
    layer.layer_norm1.eps = layer.layer_norm2.eps = config.layer_norm_eps;
  }
}

at::Tensor ClipVisionTower::encode(const ClipEncoderLayer& layer, const at::Tensor& hidden) const {
  const std::int64_t images = hidden.size(0), tokens = hidden.size(1),
                     heads = config_.num_attention_heads;
  const std::int64_t dim = config_.hidden_size / heads;
  const at::Tensor normed = layer.layer_norm1.forward(hidden);
  const auto split = [&](const Linear& proj) {
    return proj.forward(normed).view({images, tokens, heads, dim}).transpose(1, 2);
  };
  const at::Tensor mixed = fused_attention(split(layer.q_proj),
                                           split(layer.k_proj),
                                           split(layer.v_proj),
                                           /*bias=*/{},
                                           /*causal=*/false,
                                           1.0 / std::sqrt(static_cast<double>(dim)),
                                           /*grouped=*/false);
  const at::Tensor attended =
      hidden +
      layer.out_proj.forward(mixed.transpose(1, 2).reshape({images, tokens, config_.hidden_size}));
  return attended +
         layer.fc2.forward(
             activate(config_.hidden_act, layer.fc1.forward(layer.layer_norm2.forward(attended))));
}

std::vector<at::Tensor> ClipVisionTower::forward(const at::Tensor& pixels) const {
  const at::Tensor patches = at::conv2d(pixels.to(patch_embedding_.scalar_type()),
                                        patch_embedding_,
                                        /*bias=*/{},
                                        {config_.patch_size, config_.patch_size})
                                 .flatten(2)
                                 .transpose(1, 2);  // [I, P, E_v]
  const at::Tensor cls = class_embedding_.expand({pixels.size(0), 1, config_.hidden_size});
  std::vector<at::Tensor> states{
      pre_layrnorm_.forward(at::cat({cls, patches}, 1) + position_embedding_)};
  for (const auto& layer : layers_) states.push_back(encode(layer, states.back()));
  return states;
}

void ClipVisionTower::collect(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + "embeddings.class_embedding", &class_embedding_});
  out.push_back({prefix + "embeddings.patch_embedding.weight", &patch_embedding_});
  out.push_back({prefix + "embeddings.position_embedding.weight", &position_embedding_});
  pre_layrnorm_.collect(prefix + "pre_layrnorm", out);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string layer = prefix + "encoder.layers." + std::to_string(i);
    layers_[i].q_proj.collect(layer + ".self_attn.q_proj", out);
    layers_[i].k_proj.collect(layer + ".self_attn.k_proj", out);
    layers_[i].v_proj.collect(layer + ".self_attn.v_proj", out);
    layers_[i].out_proj.collect(layer + ".self_attn.out_proj", out);
    layers_[i].layer_norm1.collect(layer + ".layer_norm1", out);
    layers_[i].fc1.collect(layer + ".mlp.fc1", out);
    layers_[i].fc2.collect(layer + ".mlp.fc2", out);
    layers_[i].layer_norm2.collect(layer + ".layer_norm2", out);
  }
}

}  // namespace vmla
