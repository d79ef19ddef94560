#include "model/vlm.h"

#include <ATen/ATen.h>

#include <utility>

#include "nn/decoupled_mla_attention.h"
#include "nn/mask.h"
#include "nn/shared_mla_attention.h"

namespace vmla {

Vlm::Vlm(ModelConfig config,
         const std::vector<at::Tensor>& rope_dims,
         at::Device device,
         at::ScalarType dtype)
    : config_(std::move(config)),
      device_(device),
      dtype_(dtype),
      vision_tower_(config_.vision, config_.vision_layers_needed()) {
  projector_1_.has_bias = projector_2_.has_bias = config_.projector_bias;
  const TextConfig& text = config_.text;
  decoder_.tied_head = text.tie_word_embeddings;
  decoder_.norm.eps = text.rms_norm_eps;
  decoder_.rope = RotaryEmbedding(
      text.head_dim, text.rope_theta, text.max_position_embeddings, text.rope_scaling);
  for (std::int64_t i = 0; i < text.num_hidden_layers; ++i) {
    DecoderLayer layer;
    layer.input_layernorm.eps = layer.post_attention_layernorm.eps = text.rms_norm_eps;
    layer.mlp.act = text.hidden_act;
    layer.mlp.gate_proj.has_bias = layer.mlp.up_proj.has_bias = layer.mlp.down_proj.has_bias =
        text.mlp_bias;
    if (config_.mla && config_.mla->is_shared()) {
      layer.self_attn = std::make_unique<SharedMlaAttention>(
          config_.mla->shared_shape(text.attention_shape(), i),
          rope_dims.at(static_cast<std::size_t>(i)).to(device));
    } else if (config_.mla) {
      layer.self_attn = make_mla_attention(config_.mla->layer_shape(text.attention_shape(), i),
                                           rope_dims.at(static_cast<std::size_t>(i)).to(device));
    } else {
      layer.self_attn = std::make_unique<MhaAttention>(text.attention_shape());
    }
    decoder_.layers.push_back(std::move(layer));
  }
}

at::Tensor Vlm::vision_features(const at::Tensor& pixels) const {
  const std::vector<at::Tensor> states = vision_tower_.forward(pixels.to(device_, dtype_));
  const auto count = config_.vision.num_hidden_layers + 1;
  std::vector<at::Tensor> chosen;
  for (const std::int64_t layer : config_.vision_feature_layers) {
    const at::Tensor& state =
        states.at(static_cast<std::size_t>(layer < 0 ? count + layer : layer));
    chosen.push_back(config_.vision_feature_select_strategy == "default" ? state.slice(1, 1)
                                                                         : state);
  }
  return at::cat(chosen, -1);
}

at::Tensor Vlm::encode_images(const at::Tensor& pixels) const {
  // The tower keeps every layer's output, 30 MB an image in a 7B model.
  constexpr std::int64_t kAtOnce = 16;
  if (pixels.size(0) > kAtOnce && !at::GradMode::is_enabled()) {
    std::vector<at::Tensor> parts;
    for (const at::Tensor& some : pixels.split(kAtOnce)) parts.push_back(encode_images(some));
    return at::cat(parts);
  }
  return projector_2_.forward(
      activate(config_.projector_act, projector_1_.forward(vision_features(pixels))));
}

at::Tensor Vlm::embed(const at::Tensor& ids, const at::Tensor& features) const {
  const at::Tensor embedded = decoder_.embed(ids);
  const at::Tensor is_image = ids == config_.image_token_id;
  const std::int64_t places = features.defined() ? features.size(0) * features.size(1) : 0;
  const auto tokens = is_image.sum().item<std::int64_t>();
  check(tokens == places,
        ErrorKind::Usage,
        "image tokens: expected {} for the images given, got {}",
        places,
        tokens);
  if (places == 0) return embedded;
  // Not masked_scatter, which numbers every element of the mask in int64.
  const std::int64_t width = embedded.size(-1);
  return embedded.view({-1, width})
      .index_copy(0,
                  is_image.view({-1}).nonzero().squeeze(1),
                  features.reshape({-1, width}).to(embedded.scalar_type()))
      .view_as(embedded);
}

at::Tensor Vlm::image_mask(const at::Tensor& ids) const {
  return config_.mla && config_.mla->decoupled ? ids == config_.image_token_id : at::Tensor();
}

at::Tensor Vlm::forward(const at::Tensor& ids,
                        const at::Tensor& key_mask,
                        const at::Tensor& pixels,
                        const DecoderHooks& hooks) const {
  DecoderInput input;
  input.embeddings = embed(ids, pixels.defined() ? encode_images(pixels) : at::Tensor());
  input.key_mask = key_mask;
  input.image = image_mask(ids);
  input.positions = key_mask.defined() ? positions_from_mask(key_mask)
                                       : at::arange(ids.size(1), ids.options()).unsqueeze(0);
  return decoder_.logits(decoder_.forward(input, hooks));
}

std::vector<CacheLayout> Vlm::cache_layouts(CacheMode mode, const CacheFormat& format) const {
  return with_format(decoder_.cache_layouts(mode), format, cache_dtype_of(dtype_));
}

std::unique_ptr<ContiguousCache> Vlm::make_cache(std::int64_t batch,
                                                 CacheMode mode,
                                                 const CacheFormat& format) const {
  return std::make_unique<ContiguousCache>(cache_layouts(mode, format), batch, dtype_, device_);
}

ParameterList Vlm::parameters() {
  ParameterList out;
  vision_tower_.collect("vision_tower.vision_model.", out);
  projector_1_.collect("multi_modal_projector.linear_1", out);
  projector_2_.collect("multi_modal_projector.linear_2", out);
  decoder_.collect("language_model.", out);
  return out;
}

std::int64_t Vlm::parameter_bytes() {
  std::int64_t sum = 0;
  for (const auto& p : parameters())
    sum += p.tensor->defined() ? static_cast<std::int64_t>(p.tensor->nbytes()) : 0;
  return sum;
}

}  // namespace vmla
