#include "train/random_init.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

namespace vmla {
namespace {

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

struct Deviations {
  double usual;  // everything but the vision tower's
  const VisionConfig& vision;
  double vision_range;

  // CLIP scales its projections by width and depth.
  double of_vision(const std::string& name) const {
    const double width = 1.0 / std::sqrt(static_cast<double>(vision.hidden_size));
    const double depth = 1.0 / std::sqrt(2.0 * static_cast<double>(vision.num_hidden_layers));
    if (contains(name, "class_embedding") || contains(name, "out_proj")) return width;
    if (contains(name, "self_attn.") || contains(name, "mlp.fc2")) return width * depth;
    if (contains(name, "mlp.fc1")) return width / std::sqrt(2.0);
    return vision_range;
  }
  double of(const std::string& name) const {
    return name.starts_with("vision_tower.") ? of_vision(name) : usual;
  }
};

}  // namespace

std::map<std::string, at::Tensor> random_weights(const std::vector<TensorSpec>& specs,
                                                 const ModelConfig& model,
                                                 const Json& config,
                                                 std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  const std::string subject = "config.json";
  const Json text = config.value("text_config", Json::object());
  const Json vision = config.value("vision_config", Json::object());
  const double usual = json_value(text, "initializer_range", 0.02, subject);
  const Deviations deviations{
      usual, model.vision, json_value(vision, "initializer_range", 0.02, subject)};
  at::Generator generator = at::detail::createCPUGenerator(seed);
  std::map<std::string, at::Tensor> weights;
  for (const TensorSpec& spec : specs) {
    at::Tensor tensor = at::zeros(spec.shape, at::kFloat);
    if (spec.name.ends_with(".bias")) {
      // stays 0
    } else if (contains(spec.name, "norm")) {
      tensor.fill_(1.0);
    } else {
      tensor.normal_(0.0, deviations.of(spec.name), generator);
    }
    weights.emplace(spec.name, std::move(tensor));
  }
  const std::int64_t padding = json_value<std::int64_t>(text, "pad_token_id", -1, subject);
  at::Tensor& embeddings = weights.at("language_model.model.embed_tokens.weight");
  if (padding >= 0 && padding < embeddings.size(0)) embeddings[padding].zero_();
  return weights;
}

}  // namespace vmla
