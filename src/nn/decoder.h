// A Llama-type decoder built on one attention and one cache interface.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/attention.h"
#include "nn/layers.h"
#include "nn/rope.h"

namespace vmla {

struct DecoderLayer {
  RmsNorm input_layernorm, post_attention_layernorm;
  std::unique_ptr<Attention> self_attn;
  GatedMlp mlp;

  at::Tensor forward(const at::Tensor& hidden,
                     const AttentionContext& context) const;  // [B, S, E] -> [B, S, E]
  // hidden [B, E] -> [B, E], one token a row.
  at::Tensor step(const at::Tensor& hidden, const StepContext& context) const;
  void collect(const std::string& prefix, ParameterList& out);
};

// Optional watchers and wrappers of a forward pass.
struct DecoderHooks {
  // Called with the normed input of each layer's attention [B, S, E] (calibration).
  std::function<void(std::int64_t layer, const at::Tensor& hidden)> attention_input;
  // Runs a layer; gradient checkpointing wraps it. Default: body(hidden).
  std::function<at::Tensor(const std::function<at::Tensor(const at::Tensor&)>& body,
                           const at::Tensor& hidden)>
      run_layer;
};

struct DecoderInput {
  at::Tensor embeddings;  // [B, S, E]
  at::Tensor positions;   // int64 [B or 1, S]
  at::Tensor key_mask;    // bool [B, T], false = padding; undefined = no padding. T = cached + S
  at::Tensor image;       // bool [B, S], as AttentionContext's
  KvCache* cache = nullptr;
  CacheMode cache_mode = CacheMode::Native;
  AttentionPath path = AttentionPath::Auto;
};

struct Decoder {
  at::Tensor embed_tokens;  // [V, E]
  std::vector<DecoderLayer> layers;
  RmsNorm norm;
  at::Tensor lm_head;  // [V, E]; undefined when tied to embed_tokens
  bool tied_head = false;
  RotaryEmbedding rope;

  at::Tensor embed(const at::Tensor& ids) const;  // int64 [B, S] -> [B, S, E]
  // -> the normed last hidden state [B, S, E]. Advances the cache.
  at::Tensor forward(const DecoderInput& input, const DecoderHooks& hooks = {}) const;
  at::Tensor logits(const at::Tensor& hidden) const;  // [..., E] -> [..., V], in the model's dtype
  std::vector<CacheLayout> cache_layouts(CacheMode mode) const;
  // prefix is HF's "language_model.".
  void collect(const std::string& prefix, ParameterList& out);
};

}  // namespace vmla
