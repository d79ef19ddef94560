#include "model/families/llava15.h"

#include <algorithm>

#include "model/tensor_table.h"

namespace vmla {
namespace {

ModelConfig parse_config(const Json& json, const std::string& subject) {
  ModelConfig config;
  config.architecture = "LlavaForConditionalGeneration";
  config.model_type = "llava";
  // LlavaConfig's own default for an absent text_config is a whole LlamaConfig, and CLIP
  // ViT-L/14-336 for vision.
  const Json empty = Json::object();
  const auto text = json.find("text_config");
  config.text = parse_text_config(text == json.end() || text->is_null() ? empty : *text, subject);
  const auto vision = json.find("vision_config");
  if (vision == json.end() || vision->is_null()) {
    VisionConfig& v = config.vision;
    v.hidden_size = 1024;
    v.intermediate_size = 4096;
    v.num_hidden_layers = 24;
    v.num_attention_heads = 16;
    v.image_size = 336;
    v.patch_size = 14;
  } else {
    config.vision = parse_vision_config(*vision, subject);
  }
  // Tying is a property of the whole model; old files carry it in text_config only.
  config.text.tie_word_embeddings =
      json_value(json, "tie_word_embeddings", config.text.tie_word_embeddings, subject);
  config.image_token_id =
      json_value<std::int64_t>(json,
                               "image_token_index",
                               json_value<std::int64_t>(json, "image_token_id", 32000, subject),
                               subject);
  check(config.image_token_id >= 0 && config.image_token_id < config.text.vocab_size,
        ErrorKind::Unsupported,
        "{}: image_token_index: expected a token of the vocabulary (0 to {}), got {}",
        subject,
        config.text.vocab_size - 1,
        config.image_token_id);
  if (const auto it = json.find("vision_feature_layer"); it != json.end() && it->is_array()) {
    const bool integers = std::all_of(
        it->begin(), it->end(), [](const Json& layer) { return layer.is_number_integer(); });
    check(integers && !it->empty(),
          ErrorKind::Config,
          "{}: vision_feature_layer: expected an integer or a list of them, got {}",
          subject,
          it->dump());
    config.vision_feature_layers = it->get<std::vector<std::int64_t>>();
  } else {
    config.vision_feature_layers = {
        json_value<std::int64_t>(json, "vision_feature_layer", -2, subject)};
  }
  for (const std::int64_t layer : config.vision_feature_layers) {
    check(
        layer >= -(config.vision.num_hidden_layers + 1) && layer <= config.vision.num_hidden_layers,
        ErrorKind::Config,
        "{}: vision_feature_layer: expected {} to {}, got {}",
        subject,
        -(config.vision.num_hidden_layers + 1),
        config.vision.num_hidden_layers,
        layer);
  }
  config.vision_feature_select_strategy =
      json_value<std::string>(json, "vision_feature_select_strategy", "default", subject);
  check(config.vision_feature_select_strategy == "default" ||
            config.vision_feature_select_strategy == "full",
        ErrorKind::Config,
        "{}: vision_feature_select_strategy: expected default or full, got {}",
        subject,
        config.vision_feature_select_strategy);
  config.projector_act =
      parse_activation(json_value<std::string>(json, "projector_hidden_act", "gelu", subject));
  config.projector_bias = json_value(json, "multimodal_projector_bias", true, subject);
  config.dtype = json_value<std::string>(
      json, "torch_dtype", json_value<std::string>(json, "dtype", "", subject), subject);
  if (has_mla_config(json)) {
    config.mla = parse_mla_config(json, subject);
    if (config.mla->is_shared()) {
      check_shared_layers(
          *config.mla, config.text.num_hidden_layers, config.text.head_dim, subject);
    }
    check_layer_latents(
        *config.mla, config.text.attention_shape(), config.text.num_hidden_layers, subject);
  }
  return config;
}

std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  std::vector<TensorSpec> specs = clip_tensor_specs(config.vision, "vision_tower.vision_model.");
  const std::int64_t features =
      config.vision.hidden_size * static_cast<std::int64_t>(config.vision_feature_layers.size());
  add_linear(specs,
             "multi_modal_projector.linear_1",
             config.text.hidden_size,
             features,
             config.projector_bias);
  add_linear(specs,
             "multi_modal_projector.linear_2",
             config.text.hidden_size,
             config.text.hidden_size,
             config.projector_bias);
  const auto decoder = decoder_tensor_specs(config.text, config.mla, "language_model.");
  specs.insert(specs.end(), decoder.begin(), decoder.end());
  return specs;
}

}  // namespace

Family llava15_family() {
  return {"LlavaForConditionalGeneration", "llava", parse_config, tensor_specs};
}

}  // namespace vmla
