#include "convert/calibration.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "model/load.h"
#include "nn/mask.h"

namespace vmla {
namespace {

std::string layer_prefix(std::int64_t index) {
  return fmt::format("language_model.model.layers.{}.", index);
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

// The same numbers in half of the room, if that can be.
at::Tensor packed(const at::Tensor& x) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor small = x.to(type);
    if (at::equal(small.to(x.scalar_type()), x)) return small;
  }
  return x;
}

constexpr const char* kEmbeddings = "language_model.model.embed_tokens.";

}  // namespace

CalibrationModel::CalibrationModel(const Checkpoint& checkpoint,
                                   at::Device device,
                                   at::ScalarType dtype)
    : checkpoint_(checkpoint) {
  const std::string subject = (checkpoint.dir() / "config.json").string();
  const Family& family = find_family(checkpoint.config(), subject);
  const ModelConfig config = family.parse_config(checkpoint.config(), subject);
  require_specs(checkpoint, family.tensor_specs(config));
  std::vector<at::Tensor> rope_dims;
  if (config.mla) rope_dims = load_rope_dims(checkpoint, config, {});
  vlm_ = std::make_unique<Vlm>(config, rope_dims, device, dtype);
}

void CalibrationModel::load(const std::string& prefix) {
  ParameterList missing;
  for (const NamedParameter& parameter : vlm_->parameters()) {
    if (!starts_with(parameter.name, prefix) || parameter.tensor->defined()) continue;
    if (const auto it = packed_.find(parameter.name); it != packed_.end()) {
      *parameter.tensor = it->second.to(vlm_->dtype());
    } else {
      missing.push_back(parameter);
    }
  }
  read_weights(checkpoint_, missing, vlm_->dtype(), vlm_->device());
}

void CalibrationModel::release(const std::string& prefix) {
  for (const NamedParameter& parameter : vlm_->parameters()) {
    if (starts_with(parameter.name, prefix)) *parameter.tensor = at::Tensor();
  }
}

DecoderLayer& CalibrationModel::layer(std::int64_t index) {
  load(layer_prefix(index));
  return vlm_->decoder().layers.at(static_cast<std::size_t>(index));
}

void CalibrationModel::release_layer(std::int64_t index) {
  const std::string prefix = layer_prefix(index);
  for (const NamedParameter& parameter : vlm_->parameters()) {
    if (keeps_packed_ && starts_with(parameter.name, prefix) && parameter.tensor->defined() &&
        packed_.count(parameter.name) == 0)
      packed_[parameter.name] = packed(*parameter.tensor);
  }
  release(prefix);
}

void CalibrationModel::release_packed(std::int64_t index) {
  const std::string prefix = layer_prefix(index);
  std::erase_if(packed_, [&](const auto& entry) { return starts_with(entry.first, prefix); });
}

void CalibrationModel::load_inputs() {
  for (const char* prefix : {"vision_tower.", "multi_modal_projector.", kEmbeddings}) load(prefix);
}

void CalibrationModel::release_inputs() {
  for (const char* prefix : {"vision_tower.", "multi_modal_projector."}) release(prefix);
  if (!config().text.tie_word_embeddings) release(kEmbeddings);
}

void CalibrationModel::load_head() {
  load("language_model.model.norm.");
  load(config().text.tie_word_embeddings ? kEmbeddings : "language_model.lm_head.");
}

std::map<std::string, at::Tensor> layer_weights(DecoderLayer& layer) {
  ParameterList parameters;
  layer.collect("", parameters);
  std::map<std::string, at::Tensor> weights;
  for (const NamedParameter& parameter : parameters)
    weights[parameter.name.substr(1)] = *parameter.tensor;  // collect puts a dot in front
  return weights;
}

at::Tensor StreamBatch::text() const {
  return real.logical_and(image.logical_not());
}

AttentionContext StreamBatch::context() const {
  AttentionContext context;
  context.cos = cos;
  context.sin = sin;
  context.image = image;
  return context;
}

CalibrationStream::CalibrationStream(const CalibrationModel& model, const CalibrationSet& set) {
  const at::NoGradGuard no_grad;
  const Vlm& vlm = model.vlm();
  for (std::int64_t i = 0; i < set.batches(); ++i) {
    const TrainBatch data = set.batch(i);
    const at::Tensor ids = data.input_ids.to(vlm.device());
    StreamBatch batch;
    batch.hidden = vlm.embed(
        ids, data.pixel_values.defined() ? vlm.encode_images(data.pixel_values) : at::Tensor());
    batch.real = data.key_mask.to(vlm.device());
    batch.image = (ids == model.config().image_token_id).logical_and(batch.real);
    batch.labels = data.labels.to(vlm.device());
    batch.is_text = set.is_text(i);
    const at::Tensor positions = at::arange(ids.size(1), ids.options()).unsqueeze(0);
    std::tie(batch.cos, batch.sin) = vlm.decoder().rope.cos_sin(positions, vlm.dtype());
    batches_.push_back(std::move(batch));
  }
}

void CalibrationStream::advance(const DecoderLayer& layer) {
  advance([&](const StreamBatch& batch) { return layer.forward(batch.hidden, batch.context()); });
}

void CalibrationStream::advance(const std::function<at::Tensor(const StreamBatch&)>& body) {
  const at::NoGradGuard no_grad;
  for (StreamBatch& batch : batches_) batch.hidden = body(batch);
}

at::Tensor attention_input(const DecoderLayer& layer, const StreamBatch& batch) {
  return layer.input_layernorm.forward(batch.hidden);
}

namespace {

// The layer's projections by name.
class Projections {
 public:
  explicit Projections(DecoderLayer& layer) : weights_(layer_weights(layer)) {}
  bool has(const std::string& name) const { return weights_.count(weight(name)) > 0; }
  at::Tensor apply(const std::string& name, const at::Tensor& input) const {
    const auto bias = weights_.find("self_attn." + name + ".bias");
    return at::linear(
        input, weights_.at(weight(name)), bias == weights_.end() ? at::Tensor() : bias->second);
  }

 private:
  static std::string weight(const std::string& name) { return "self_attn." + name + ".weight"; }
  std::map<std::string, at::Tensor> weights_;
};

}  // namespace

AttentionView view_projections(DecoderLayer& layer,
                               const ModelConfig& config,
                               const StreamBatch& batch) {
  AttentionView view;
  view.before = batch.hidden;
  view.x = attention_input(layer, batch);
  const Projections projections(layer);
  if (!projections.has("k_proj")) return view;
  const auto heads = [&](const std::string& name) {
    return projections.apply(name, view.x).unflatten(-1, {-1, config.text.head_dim});
  };
  view.q = heads("q_proj");
  view.k = heads("k_proj");
  view.v = heads("v_proj");
  const at::Tensor cos = batch.cos.unsqueeze(2), sin = batch.sin.unsqueeze(2);
  view.q_rot = apply_rope(view.q, cos, sin);
  view.k_rot = apply_rope(view.k, cos, sin);
  return view;
}

AttentionView view_attention(DecoderLayer& layer,
                             const ModelConfig& config,
                             const StreamBatch& batch) {
  AttentionView view = view_projections(layer, config, batch);
  if (!view.k.defined()) {
    view.after = view.before + layer.self_attn->forward(view.x, batch.context());
    return view;
  }
  view.mixed = expanded_attention(view.q_rot,
                                  view.k_rot,
                                  view.v,
                                  {},
                                  1.0 / std::sqrt(static_cast<double>(config.text.head_dim)));
  view.after = view.before + Projections(layer).apply("o_proj", view.mixed);
  return view;
}

void visit_attention(DecoderLayer& layer,
                     const ModelConfig& config,
                     const CalibrationStream& stream,
                     const AttentionVisitor& visitor) {
  const at::NoGradGuard no_grad;
  for (std::int64_t i = 0; i < stream.size(); ++i) {
    const StreamBatch& batch = stream.batch(i);
    visitor(view_attention(layer, config, batch), batch);
  }
}

at::Tensor attention_log_probs(const at::Tensor& q, const at::Tensor& k) {
  const std::int64_t tokens = q.size(1), group = q.size(2) / k.size(2);
  const at::Tensor keys = k.to(at::kDouble).repeat_interleave(group, 2).permute({0, 2, 3, 1});
  const at::Tensor scores = at::matmul(q.to(at::kDouble).transpose(1, 2), keys) /
                            std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor hidden =
      causal_mask(at::ones({1, tokens}, q.options().dtype(at::kBool)), tokens).logical_not();
  return scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()).log_softmax(-1);
}

}  // namespace vmla
