#include "nn/decoder.h"

#include <ATen/ATen.h>

#include "nn/mask.h"

namespace vmla {

at::Tensor DecoderLayer::forward(const at::Tensor& hidden, const AttentionContext& context) const {
  const at::Tensor attended = hidden + self_attn->forward(input_layernorm.forward(hidden), context);
  return attended + mlp.forward(post_attention_layernorm.forward(attended));
}

at::Tensor DecoderLayer::step(const at::Tensor& hidden, const StepContext& context) const {
  const at::Tensor attended = self_attn->step(input_layernorm.forward(hidden), hidden, context);
  return mlp.step(post_attention_layernorm.forward(attended), attended);
}

void DecoderLayer::collect(const std::string& prefix, ParameterList& out) {
  input_layernorm.collect(prefix + ".input_layernorm", out);
  self_attn->collect(prefix + ".self_attn", out);
  post_attention_layernorm.collect(prefix + ".post_attention_layernorm", out);
  mlp.collect(prefix + ".mlp", out);
}

at::Tensor Decoder::embed(const at::Tensor& ids) const {
  return at::embedding(embed_tokens, ids);
}

at::Tensor Decoder::forward(const DecoderInput& input, const DecoderHooks& hooks) const {
  AttentionContext context;
  const at::ScalarType dtype = input.embeddings.scalar_type();
  std::tie(context.cos, context.sin) = rope.cos_sin(input.positions, dtype);
  if (input.key_mask.defined())
    context.mask = causal_mask(input.key_mask, input.embeddings.size(1));
  context.image = input.image;
  context.cache = input.cache;
  context.cache_mode = input.cache_mode;
  context.path = input.path;

  at::Tensor hidden = input.embeddings;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    context.layer = static_cast<std::int64_t>(i);
    const DecoderLayer& layer = layers[i];
    if (hooks.attention_input)
      hooks.attention_input(context.layer, layer.input_layernorm.forward(hidden));
    if (hooks.run_layer) {
      // The body outlives this iteration when it is recomputed in backward, so it owns its context.
      hidden = hooks.run_layer(
          [&layer, context](const at::Tensor& x) { return layer.forward(x, context); }, hidden);
    } else {
      hidden = layer.forward(hidden, context);
    }
  }
  if (input.cache != nullptr) input.cache->advance(input.embeddings.size(1));
  return norm.forward(hidden);
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return at::linear(hidden, tied_head ? embed_tokens : lm_head);
}

std::vector<CacheLayout> Decoder::cache_layouts(CacheMode mode) const {
  std::vector<CacheLayout> layouts;
  for (const auto& layer : layers) layouts.push_back(layer.self_attn->cache_layout(mode));
  return layouts;
}

void Decoder::collect(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + "model.embed_tokens.weight", &embed_tokens});
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].collect(prefix + "model.layers." + std::to_string(i), out);
  }
  norm.collect(prefix + "model.norm", out);
  if (!tied_head) out.push_back({prefix + "lm_head.weight", &lm_head});
}

}  // namespace vmla
