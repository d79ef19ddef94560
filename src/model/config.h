// A model's config.json as typed data, HF's defaults filled in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/mla_config.h"
#include "nn/activation.h"
#include "nn/attention_shape.h"
#include "nn/rope_scaling.h"

namespace vmla {

// LlamaConfig, MistralConfig or Qwen2Config (model_type tells the defaults and where biases stand).
struct TextConfig {
  std::string model_type = "llama";
  std::int64_t vocab_size = 32000;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 11008;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 32;
  std::int64_t head_dim = 128;
  std::int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  Activation hidden_act = Activation::Silu;
  bool qkv_bias = false;
  bool out_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;

  AttentionShape attention_shape() const {
    return {hidden_size, num_attention_heads, num_key_value_heads, head_dim, qkv_bias, out_bias};
  }
};

// CLIPVisionConfig.
struct VisionConfig {
  std::int64_t hidden_size = 768;
  std::int64_t intermediate_size = 3072;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 12;
  std::int64_t num_channels = 3;
  std::int64_t image_size = 224;
  std::int64_t patch_size = 32;
  double layer_norm_eps = 1e-5;
  Activation hidden_act = Activation::QuickGelu;

  std::int64_t patches() const { return (image_size / patch_size) * (image_size / patch_size); }
};

struct ModelConfig {
  std::string architecture;  // "LlavaForConditionalGeneration"
  std::string model_type;    // "llava"
  TextConfig text;
  VisionConfig vision;
  std::int64_t image_token_id = 32000;
  std::vector<std::int64_t> vision_feature_layers{
      -2};  // indices into hidden_states, 0 = embeddings
  std::string vision_feature_select_strategy = "default";
  Activation projector_act = Activation::Gelu;
  bool projector_bias = true;
  std::string dtype;             // torch_dtype / dtype as the config spells it; may be empty
  std::optional<MlaConfig> mla;  // present for converted models

  // Image tokens an image takes in the prompt: patches, plus CLS for "full".
  std::int64_t tokens_per_image() const {
    return vision.patches() + (vision_feature_select_strategy == "full" ? 1 : 0);
  }
  // How many encoder layers the deepest feature layer needs.
  std::int64_t vision_layers_needed() const;
};

// subject is named in errors, usually ".../config.json". Errors: Config, Unsupported (sliding
// window in use, unknown rope type or activation).
TextConfig parse_text_config(const Json& json, const std::string& subject);
VisionConfig parse_vision_config(const Json& json, const std::string& subject);

}  // namespace vmla
