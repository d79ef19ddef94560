#include "model/config.h"

#include <algorithm>

namespace vmla {
namespace {

// transformers 5 writes rope_parameters {rope_theta, rope_type, …}; 4.x writes rope_theta and
// rope_scaling.
void parse_rope(const Json& json, const std::string& subject, TextConfig& text) {
  const Json* scaling = nullptr;
  text.rope_theta = json_value<double>(json, "rope_theta", text.rope_theta, subject);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (const auto it = json.find(key); it != json.end() && it->is_object()) scaling = &*it;
  }
  if (scaling == nullptr) return;
  text.rope_theta = json_value<double>(*scaling, "rope_theta", text.rope_theta, subject);
  const std::string kind =
      json_value<std::string>(*scaling,
                              "rope_type",
                              json_value<std::string>(*scaling, "type", "default", subject),
                              subject);
  RopeScaling& out = text.rope_scaling;
  if (kind == "default") return;
  if (kind == "linear") {
    out.kind = RopeScalingKind::Linear;
  } else if (kind == "dynamic") {
    out.kind = RopeScalingKind::Dynamic;
  } else if (kind == "llama3") {
    out.kind = RopeScalingKind::Llama3;
    out.low_freq_factor = json_require<double>(*scaling, "low_freq_factor", subject);
    out.high_freq_factor = json_require<double>(*scaling, "high_freq_factor", subject);
    out.original_max_position =
        json_require<std::int64_t>(*scaling, "original_max_position_embeddings", subject);
    check(out.high_freq_factor > out.low_freq_factor && out.low_freq_factor > 0 &&
              out.original_max_position > 0,
          ErrorKind::Config,
          "{}: rope_scaling: expected 0 < low_freq_factor < high_freq_factor and a positive "
          "original_max_position_embeddings",
          subject);
  } else {
    fail(ErrorKind::Unsupported,
         "{}: rope_type: expected default, linear, dynamic or llama3, got {}",
         subject,
         kind);
  }
  out.factor = json_require<double>(*scaling, "factor", subject);
  check(out.factor >= 1.0,
        ErrorKind::Config,
        "{}: rope_scaling.factor: expected >= 1, got {}",
        subject,
        out.factor);
}

// Mistral and Qwen2 may limit attention to a window; with a window no shorter than the context it
// changes nothing.
void refuse_sliding_window(const Json& json, const std::string& subject, const TextConfig& text) {
  bool used = text.model_type == "mistral";
  if (text.model_type == "qwen2")
    used = json_value<bool>(json, "use_sliding_window", false, subject);
  if (const auto it = json.find("layer_types"); it != json.end() && it->is_array()) {
    used =
        std::any_of(it->begin(), it->end(), [](const Json& t) { return t == "sliding_attention"; });
  }
  // MistralConfig's default is a window of 4096.
  const auto it = json.find("sliding_window");
  std::int64_t window = it == json.end() && text.model_type == "mistral" ? 4096 : 0;
  if (it != json.end() && !it->is_null())
    window = json_require<std::int64_t>(json, "sliding_window", subject);
  check(!used || window == 0 || window >= text.max_position_embeddings,
        ErrorKind::Unsupported,
        "{}: sliding_window: expected none or at least max_position_embeddings {}, got {}",
        subject,
        text.max_position_embeddings,
        window);
}

// Sizes are multiplied in pairs, and a list of tensors is made for each layer.
constexpr std::int64_t kLargestSize = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t kMostLayers = 10'000;

void check_positive(const std::string& subject,
                    const char* name,
                    std::int64_t value,
                    std::int64_t most = kLargestSize) {
  check(value > 0 && value <= most,
        ErrorKind::Config,
        "{}: {}: expected a positive number of at most {}, got {}",
        subject,
        name,
        most,
        value);
}

}  // namespace

TextConfig parse_text_config(const Json& json, const std::string& subject) {
  check(json.is_object(),
        ErrorKind::Config,
        "{}: text_config: expected an object, got {}",
        subject,
        json_type_name(json));
  TextConfig text;
  text.model_type = json_value<std::string>(json, "model_type", "llama", subject);
  if (text.model_type == "mistral") {
    text.intermediate_size = 14336;
    text.num_key_value_heads = 8;
    text.max_position_embeddings = 131072;
  } else if (text.model_type == "qwen2") {
    text.vocab_size = 151936;
    text.intermediate_size = 22016;
    text.max_position_embeddings = 32768;
    text.qkv_bias = true;
  } else {
    check(text.model_type == "llama",
          ErrorKind::Unsupported,
          "{}: text_config.model_type: expected llama, mistral or qwen2, got {}",
          subject,
          text.model_type);
  }
  text.vocab_size = json_value(json, "vocab_size", text.vocab_size, subject);
  text.hidden_size = json_value(json, "hidden_size", text.hidden_size, subject);
  text.intermediate_size = json_value(json, "intermediate_size", text.intermediate_size, subject);
  text.num_hidden_layers = json_value(json, "num_hidden_layers", text.num_hidden_layers, subject);
  text.num_attention_heads =
      json_value(json, "num_attention_heads", text.num_attention_heads, subject);
  // LlamaConfig takes num_attention_heads where the key is absent or null; the others have defaults
  // of their own.
  const std::int64_t default_kv = text.model_type == "mistral" ? 8
                                  : text.model_type == "qwen2" ? 32
                                                               : text.num_attention_heads;
  text.num_key_value_heads = json_value(json, "num_key_value_heads", default_kv, subject);
  for (const auto& [name, value] : {std::pair{"vocab_size", text.vocab_size},
                                    {"hidden_size", text.hidden_size},
                                    {"intermediate_size", text.intermediate_size},
                                    {"num_attention_heads", text.num_attention_heads},
                                    {"num_key_value_heads", text.num_key_value_heads}}) {
    check_positive(subject, name, value);
  }
  check_positive(subject, "num_hidden_layers", text.num_hidden_layers, kMostLayers);
  check(text.num_attention_heads % text.num_key_value_heads == 0,
        ErrorKind::Config,
        "{}: num_key_value_heads: expected a divisor of {}, got {}",
        subject,
        text.num_attention_heads,
        text.num_key_value_heads);
  text.head_dim =
      json_value(json, "head_dim", text.hidden_size / text.num_attention_heads, subject);
  check_positive(subject, "head_dim", text.head_dim);
  check(text.head_dim % 2 == 0,
        ErrorKind::Config,
        "{}: head_dim: expected an even number, got {}",
        subject,
        text.head_dim);
  text.max_position_embeddings =
      json_value(json, "max_position_embeddings", text.max_position_embeddings, subject);
  text.rms_norm_eps = json_value(json, "rms_norm_eps", text.rms_norm_eps, subject);
  text.hidden_act = parse_activation(json_value<std::string>(json, "hidden_act", "silu", subject));
  text.tie_word_embeddings = json_value(json, "tie_word_embeddings", false, subject);
  if (text.model_type == "llama") {
    text.qkv_bias = text.out_bias = json_value(json, "attention_bias", false, subject);
    text.mlp_bias = json_value(json, "mlp_bias", false, subject);
  }
  parse_rope(json, subject, text);
  refuse_sliding_window(json, subject, text);
  return text;
}

VisionConfig parse_vision_config(const Json& json, const std::string& subject) {
  check(json.is_object(),
        ErrorKind::Config,
        "{}: vision_config: expected an object, got {}",
        subject,
        json_type_name(json));
  const std::string type =
      json_value<std::string>(json, "model_type", "clip_vision_model", subject);
  check(type == "clip_vision_model",
        ErrorKind::Unsupported,
        "{}: vision_config.model_type: expected clip_vision_model, got {}",
        subject,
        type);
  VisionConfig v;
  v.hidden_size = json_value(json, "hidden_size", v.hidden_size, subject);
  v.intermediate_size = json_value(json, "intermediate_size", v.intermediate_size, subject);
  v.num_hidden_layers = json_value(json, "num_hidden_layers", v.num_hidden_layers, subject);
  v.num_attention_heads = json_value(json, "num_attention_heads", v.num_attention_heads, subject);
  v.num_channels = json_value(json, "num_channels", v.num_channels, subject);
  v.image_size = json_value(json, "image_size", v.image_size, subject);
  v.patch_size = json_value(json, "patch_size", v.patch_size, subject);
  v.layer_norm_eps = json_value(json, "layer_norm_eps", v.layer_norm_eps, subject);
  v.hidden_act =
      parse_activation(json_value<std::string>(json, "hidden_act", "quick_gelu", subject));
  for (const auto& [name, value] : {std::pair{"vision_config.hidden_size", v.hidden_size},
                                    {"vision_config.intermediate_size", v.intermediate_size},
                                    {"vision_config.num_attention_heads", v.num_attention_heads},
                                    {"vision_config.image_size", v.image_size},
                                    {"vision_config.patch_size", v.patch_size}}) {
    check_positive(subject, name, value);
  }
  check_positive(subject, "vision_config.num_hidden_layers", v.num_hidden_layers, kMostLayers);
  check(v.hidden_size % v.num_attention_heads == 0 && v.patch_size <= v.image_size,
        ErrorKind::Config,
        "{}: vision_config: expected heads that divide hidden_size and a patch no larger than the "
        "image",
        subject);
  return v;
}

std::int64_t ModelConfig::vision_layers_needed() const {
  std::int64_t deepest = 0;
  for (const std::int64_t layer : vision_feature_layers) {
    deepest = std::max(deepest, layer < 0 ? vision.num_hidden_layers + 1 + layer : layer);
  }
  return deepest;
}

}  // namespace vmla
