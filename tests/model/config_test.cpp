#include "model/config.h"

#include <gtest/gtest.h>

#include "model/family.h"

namespace vmla {
namespace {

ErrorKind kind_of(const std::string& json, std::string* message = nullptr) {
  try {
    parse_model_config(parse_json(json, "c.json"), "c.json");
  } catch (const Error& e) {
    if (message != nullptr) *message = e.what();
    return e.kind();
  }
  ADD_FAILURE() << "expected an error for " << json;
  return ErrorKind::Internal;
}

// The text_config of llava-hf/llava-1.5-7b-hf names only what differs from LlamaConfig's defaults.
TEST(Config, HubFileOfLlava15) {
  const ModelConfig c = parse_model_config(parse_json(R"({
    "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": 32000,
    "model_type": "llava", "pad_token_id": 32001, "projector_hidden_act": "gelu",
    "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
      "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "float16",
      "vocab_size": 32064},
    "tie_word_embeddings": false, "torch_dtype": "float16",
    "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
      "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
      "projection_dim": 768, "vocab_size": 32000},
    "vision_feature_layer": -2, "vision_feature_select_strategy": "default"})",
                                                      "c.json"),
                                           "c.json");
  EXPECT_EQ(c.text.hidden_size, 4096);
  EXPECT_EQ(c.text.intermediate_size, 11008);
  EXPECT_EQ(c.text.num_hidden_layers, 32);
  EXPECT_EQ(c.text.num_key_value_heads, 32);
  EXPECT_EQ(c.text.head_dim, 128);
  EXPECT_DOUBLE_EQ(c.text.rms_norm_eps, 1e-5);
  EXPECT_DOUBLE_EQ(c.text.rope_theta, 10000.0);
  EXPECT_FALSE(c.text.qkv_bias);
  EXPECT_EQ(c.vision.hidden_act, Activation::QuickGelu);
  EXPECT_EQ(c.tokens_per_image(), 576);
  EXPECT_EQ(c.vision_layers_needed(), 23) << "the last encoder layer is not needed for -2";
  EXPECT_TRUE(c.projector_bias);
  EXPECT_FALSE(c.mla.has_value());
}

TEST(Config, FiveSpellings) {
  const ModelConfig c = parse_model_config(
      parse_json(R"({"model_type": "llava", "image_token_id": 7, "dtype": "bfloat16",
    "text_config": {"model_type": "llama", "rope_parameters": {"rope_theta": 5000.0, "rope_type": "linear", "factor": 2.0}},
    "vision_feature_layer": [-2, 3]})",
                 "c.json"),
      "c.json");
  EXPECT_EQ(c.image_token_id, 7);
  EXPECT_EQ(c.dtype, "bfloat16");
  EXPECT_DOUBLE_EQ(c.text.rope_theta, 5000.0);
  EXPECT_EQ(c.text.rope_scaling.kind, RopeScalingKind::Linear);
  EXPECT_EQ(c.vision.num_hidden_layers, 24) << "absent vision_config means CLIP ViT-L/14-336";
  EXPECT_EQ(c.vision_layers_needed(), 23);
}

TEST(Config, TextModelsAreData) {
  const auto parse = [](const std::string& text) {
    return parse_text_config(parse_json(text, "c"), "c");
  };
  const TextConfig mistral = parse(R"({"model_type": "mistral", "sliding_window": null})");
  EXPECT_EQ(mistral.num_key_value_heads, 8);
  EXPECT_EQ(mistral.intermediate_size, 14336);
  const TextConfig qwen = parse(R"({"model_type": "qwen2", "tie_word_embeddings": true})");
  EXPECT_TRUE(qwen.qkv_bias);
  EXPECT_FALSE(qwen.out_bias);
  EXPECT_TRUE(qwen.tie_word_embeddings);
  const TextConfig llama3 =
      parse(R"({"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8,
    "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"}})");
  EXPECT_EQ(llama3.rope_scaling.kind, RopeScalingKind::Llama3);
  EXPECT_EQ(llama3.num_key_value_heads, 8);
}

TEST(Config, RefusesWhatItDoesNotHandle) {
  std::string message;
  EXPECT_EQ(kind_of(R"({"architectures": ["BlipForConditionalGeneration"]})", &message),
            ErrorKind::Unsupported);
  EXPECT_EQ(message,
            "c.json: architectures: expected one of LlavaForConditionalGeneration, got "
            "BlipForConditionalGeneration");
  EXPECT_EQ(
      kind_of(
          R"({"model_type": "llava", "text_config": {"model_type": "mistral", "sliding_window": 4096}})",
          &message),
      ErrorKind::Unsupported);
  EXPECT_NE(message.find("sliding_window"), std::string::npos);
  EXPECT_EQ(kind_of(R"({"model_type": "llava", "text_config": {"model_type": "gemma"}})"),
            ErrorKind::Unsupported);
  EXPECT_EQ(
      kind_of(
          R"({"model_type": "llava", "text_config": {"rope_scaling": {"type": "yarn", "factor": 2}}})",
          &message),
      ErrorKind::Unsupported);
  EXPECT_NE(message.find("yarn"), std::string::npos);
  EXPECT_EQ(kind_of(R"({"model_type": "llava", "image_token_index": -200})", &message),
            ErrorKind::Unsupported);
  EXPECT_EQ(
      kind_of(
          R"({"model_type": "llava", "text_config": {"num_attention_heads": 32, "num_key_value_heads": 5}})"),
      ErrorKind::Config);
  EXPECT_EQ(kind_of(R"({"model_type": "llava", "text_config": {"hidden_size": "big"}})"),
            ErrorKind::Config);
  EXPECT_EQ(kind_of(R"({"model_type": "llava", "text_config": {"hidden_size": 0}})"),
            ErrorKind::Config);
  EXPECT_EQ(
      kind_of(R"({"model_type": "llava", "image_token_index": 3, "vision_feature_layer": 99})"),
      ErrorKind::Config);
  EXPECT_EQ(
      kind_of(
          R"({"model_type": "llava", "image_token_index": 3, "vision_feature_layer": [-2, "x"]})",
          &message),
      ErrorKind::Config);
  EXPECT_NE(message.find("[-2,\"x\"]"), std::string::npos) << message;
  EXPECT_EQ(kind_of("[]"), ErrorKind::Config);
}

// A list of tensors is made for each layer, before any weight is looked at.
TEST(Config, RefusesSizesThatNoModelHas) {
  std::string message;
  EXPECT_EQ(kind_of(R"({"model_type": "llava", "text_config": {"num_hidden_layers": 1000000000}})",
                    &message),
            ErrorKind::Config);
  EXPECT_NE(message.find("num_hidden_layers: expected a positive number of at most 10000"),
            std::string::npos)
      << message;
  EXPECT_EQ(
      kind_of(R"({"model_type": "llava", "vision_config": {"num_hidden_layers": 1000000000}})"),
      ErrorKind::Config);
  EXPECT_EQ(kind_of(R"({"model_type": "llava", "text_config": {"hidden_size": 1099511627776}})"),
            ErrorKind::Config);
}

constexpr const char* kMla =
    R"({"partial_rope_version": "2-norm", "rope_dim_for_mla": 32, "uniform_start_point": 0,
  "qk_tensor_path": "ranks.pth", "svd_init_method": "joint", "low_rank": 16, "is_baseline": false,
  "is_gqa2mha2mla": false, "is_mla_from_scratch": false})";

TEST(MlaConfig, RoundTripsTheOriginalsNineKeys) {
  const Json json = parse_json(fmt::format(R"({{"mha2mla": {}}})", kMla), "c");
  const MlaConfig c = parse_mla_config(json, "c");
  EXPECT_EQ(c.rope.version, "2-norm");
  EXPECT_EQ(c.rope.rope_dim, 32);
  EXPECT_EQ(c.low_rank, 16);
  EXPECT_EQ(mha2mla_json(c), json["mha2mla"]);
  EXPECT_EQ(mha2mla_json(c).dump(), json["mha2mla"].dump()) << "in the original's order";
  // The original's loader also accepts a JSON string.
  const Json as_string{{"mha2mla", json["mha2mla"].dump()}};
  EXPECT_EQ(mha2mla_json(parse_mla_config(as_string, "c")), json["mha2mla"]);
}

TEST(MlaConfig, RefusesUnknownKeysAndNewerFormats) {
  const auto kind = [](const std::string& text) {
    try {
      parse_mla_config(parse_json(text, "c"), "c");
    } catch (const Error& e) {
      return e.kind();
    }
    return ErrorKind::Internal;
  };
  EXPECT_EQ(kind(R"({"mha2mla": {"rank": 3}})"), ErrorKind::Config);
  EXPECT_EQ(kind(R"({"mha2mla": {"low_rank": 0}})"), ErrorKind::Config);
  EXPECT_EQ(kind(R"({"mha2mla": {"svd_init_method": "both"}})"), ErrorKind::Usage);
  EXPECT_EQ(kind(R"({"mha2mla": {}, "vlm_mla": {"format_version": 99}})"), ErrorKind::Unsupported);
  EXPECT_EQ(kind(R"({"mha2mla": {}, "vlm_mla": {"format_version": 1, "rope_ranks": "../x.pth"}})"),
            ErrorKind::Config);
}

TEST(MlaConfig, CacheElementsFollowTheFormula) {
  // LLaVA-1.5-7B: K (R + r) per token and layer; 256 MiB at 2,048 tokens in bf16 for (32, 32).
  MlaConfig c;
  c.rope.rope_dim = 32;
  c.low_rank = 32;
  const AttentionShape seven_b{4096, 32, 32, 128, false, false};
  const CacheLayout layout = mla_cache_layout(c.layer_shape(seven_b, 0), CacheMode::Native);
  EXPECT_EQ(layout.name(), "k_rope+latent");
  EXPECT_EQ(layout.elements_per_token(), 32 * (32 + 32));
  EXPECT_EQ(layout.elements_per_token() * 32 * 2 * 2048, 256LL << 20);
  EXPECT_EQ(mla_cache_layout(c.layer_shape(seven_b, 0), CacheMode::Expanded).elements_per_token() *
                32 * 2 * 2048,
            1024LL << 20);
}

}  // namespace
}  // namespace vmla
