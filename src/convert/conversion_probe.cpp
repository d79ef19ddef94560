#include "convert/conversion_probe.h"

#include <ATen/ATen.h>

#include "convert/attention_weights.h"
#include "convert/best_layer.h"
#include "model/rope_dims.h"
#include "nn/decoupled_mla_attention.h"

namespace vmla {
namespace {

double sum_of(const at::Tensor& tensor) {
  return tensor.sum(at::kDouble).item<double>();
}

// The variance of values under probabilities, both [B, H, S, T] -> [B, H, S].
at::Tensor variance(const at::Tensor& probs, const at::Tensor& values) {
  return (probs * values.square()).sum(-1) - (probs * values).sum(-1).square();
}

// Of latent attention with heads' own rope rows; null for any other.
const MlaShape* shape_of(const Attention& attention) {
  if (const auto* joint = dynamic_cast<const MlaAttention*>(&attention)) return &joint->shape();
  const auto* decoupled = dynamic_cast<const DecoupledMlaAttention*>(&attention);
  return decoupled != nullptr ? &decoupled->shape() : nullptr;
}

// Positions whose next token is asked for, of [B * S].
at::Tensor predicting_rows(const StreamBatch& batch, at::Tensor& targets) {
  const at::Tensor next = batch.labels.slice(1, 1);
  const at::Tensor asked = at::zeros_like(batch.labels, at::kBool);
  asked.slice(1, 0, -1).copy_(next != kIgnoredLabel);
  targets = next.masked_select(next != kIgnoredLabel);
  return asked.flatten().nonzero().squeeze(1);
}

}  // namespace

KeysAndQueries latent_keys_and_queries(Attention& attention,
                                       const MlaShape& shape,
                                       const at::Tensor& kept,
                                       const at::Tensor& x,
                                       const StreamBatch& batch) {
  const AttentionWeights weights = weights_of(attention);
  const auto project = [&](const std::string& name, const at::Tensor& input) {
    const auto bias = weights.find(name + ".bias");
    return at::linear(
        input, weights.at(name + ".weight"), bias == weights.end() ? at::Tensor() : bias->second);
  };
  const PartialRope rope = partial_rope(
      project("q_proj", x), project("k_r_proj", x), batch.cos, batch.sin, kept.reshape(-1), shape);
  if (shape.nope_dim() == 0) return {rope.q_rope, rope.k_rope};
  const auto through = [&](const std::string& factors, const char* down) {
    return project(factors + ".up_k", project(factors + down, x));
  };
  const at::Tensor k_nope = shape.decoupled        ? at::where(batch.image.unsqueeze(-1),
                                                        through("kv_proj_img", ".down_kv"),
                                                        through("kv_proj_text", ".down_kv"))
                            : shape.joint()        ? through("kv_proj", ".down_kv")
                            : shape.low_rank_key() ? through("kv_proj", ".down_k")
                                                   : project("kv_proj.up_k", x);
  return {at::cat({rope.q_rope, rope.q_nope}, -1),
          at::cat({rope.k_rope, k_nope.unflatten(-1, {shape.attention.kv_heads, shape.nope_dim()})},
                  -1)};
}

void LogitErrors::add(const KeysAndQueries& source,
                      const KeysAndQueries& converted,
                      const at::Tensor& real) {
  const at::Tensor before = attention_log_probs(source.q, source.k);
  const at::Tensor after = attention_log_probs(converted.q, converted.k);
  const at::Tensor hidden = before.isinf();
  const at::Tensor probs = before.exp();
  const at::Tensor visible = before.masked_fill(hidden, 0.0);
  const at::Tensor change = after.masked_fill(hidden, 0.0) - visible;
  const at::Tensor weight = real.unsqueeze(1).to(at::kDouble);
  error_ += sum_of(variance(probs, change) * weight);
  spread_ += sum_of(variance(probs, visible) * weight);
  divergence_ -= sum_of((probs * change).sum(-1) * weight);
  count_ += sum_of(weight) * static_cast<double>(source.q.size(2));
}

ConversionProbe::ConversionProbe(const Checkpoint& checkpoint,
                                 const CalibrationSet& set,
                                 at::Device device)
    : model_(checkpoint, device, at::kFloat) {
  model_.load_inputs();
  source_ = std::make_unique<CalibrationStream>(model_, set);
  converted_ = std::make_unique<CalibrationStream>(*source_);
  model_.release_inputs();
  if (model_.config().mla) source_kept_ = load_rope_dims(checkpoint, model_.config(), {});
}

AttentionErrors ConversionProbe::add_layer(std::int64_t layer,
                                           Attention& converted,
                                           const at::Tensor& kept) {
  const at::NoGradGuard no_grad;
  DecoderLayer& original = model_.layer(layer);
  const MlaShape* latent = kept.defined() ? shape_of(converted) : nullptr;
  const at::Tensor dims = latent != nullptr ? kept.to(model_.vlm().device()) : at::Tensor();
  LogitErrors logits;
  double error = 0.0, total = 0.0;
  visit_attention(original,
                  model_.config(),
                  *source_,
                  [&](const AttentionView& view, const StreamBatch& batch) {
                    if (latent != nullptr)
                      logits.add(keys_and_queries(layer, original, view, batch),
                                 latent_keys_and_queries(converted, *latent, dims, view.x, batch),
                                 batch.real);
                    const at::Tensor real = batch.real.unsqueeze(-1);
                    const at::Tensor want = (view.after - view.before) * real;
                    const at::Tensor got = converted.forward(view.x, batch.context()) * real;
                    error += sum_of((got - want).square());
                    total += sum_of(want.square());
                  });
  carry_layer(layer, converted);
  AttentionErrors errors;
  errors.output = total > 0.0 ? error / total : 0.0;
  if (latent != nullptr) {
    errors.logits = logits.share();
    errors.kl = logits.divergence();
  }
  return errors;
}

void ConversionProbe::carry_layer(std::int64_t layer, const Attention& converted) {
  const at::NoGradGuard no_grad;
  const DecoderLayer& original = model_.layer(layer);
  source_->advance(original);
  converted_->advance([&](const StreamBatch& batch) {
    return forward_with(original, converted, batch.hidden, batch.context());
  });
  model_.release_layer(layer);
}

KeysAndQueries ConversionProbe::keys_and_queries(std::int64_t layer,
                                                 DecoderLayer& original,
                                                 const AttentionView& view,
                                                 const StreamBatch& batch) const {
  auto* latent = dynamic_cast<MlaAttention*>(original.self_attn.get());
  if (latent == nullptr) return {view.q_rot, view.k_rot};
  const at::Tensor own = source_kept_.at(static_cast<std::size_t>(layer)).to(model_.vlm().device());
  return latent_keys_and_queries(*latent, latent->shape(), own, view.x, batch);
}

NextTokenAgreement ConversionProbe::finish() {
  const at::NoGradGuard no_grad;
  model_.load_head();
  const Decoder& decoder = model_.vlm().decoder();
  NextTokenAgreement out;
  for (std::int64_t i = 0; i < source_->size(); ++i) {
    const StreamBatch& batch = source_->batch(i);
    at::Tensor targets;
    const at::Tensor rows = predicting_rows(batch, targets);
    const auto log_probs = [&](const at::Tensor& hidden) {
      return decoder.logits(decoder.norm.forward(hidden.flatten(0, 1).index_select(0, rows)))
          .to(at::kDouble)
          .log_softmax(-1);
    };
    const at::Tensor want = log_probs(batch.hidden), got = log_probs(converted_->batch(i).hidden);
    const auto loss = [&](const at::Tensor& probs) {
      return -sum_of(probs.gather(1, targets.unsqueeze(1)));
    };
    NextTokenAgreement::Part& part = batch.is_text ? out.text : out.answers;
    part.tokens += rows.size(0);
    part.kl += sum_of((want.exp() * (want - got)).sum(-1));
    part.same_top += sum_of((want.argmax(-1) == got.argmax(-1)).to(at::kDouble));
    part.source_loss += loss(want);
    part.loss += loss(got);
  }
  for (NextTokenAgreement::Part* part : {&out.text, &out.answers}) {
    if (part->tokens == 0) continue;
    for (double* sum : {&part->kl, &part->same_top, &part->source_loss, &part->loss})
      *sum /= static_cast<double>(part->tokens);
  }
  return out;
}

}  // namespace vmla
