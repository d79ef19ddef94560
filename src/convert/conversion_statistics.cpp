#include "convert/conversion_statistics.h"

#include <ATen/ATen.h>

#include "base/log.h"
#include "convert/factorize.h"
#include "convert/pair_norms.h"
#include "convert/rank_kl.h"

namespace vmla {
namespace {

// 2-norm scores on calibration data: [L, K, D/2].
at::Tensor norm_scores(const Checkpoint& checkpoint, const CalibrationSet& set, at::Device device) {
  CalibrationModel model(checkpoint, device, at::kFloat);
  PairNorms norms(model.vlm());
  model.load_inputs();
  CalibrationStream stream(model, set);
  model.release_inputs();
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    const DecoderLayer& layer = model.layer(i);
    for (std::int64_t b = 0; b < stream.size(); ++b)
      norms.add(i, attention_input(layer, stream.batch(b)), stream.batch(b).real);
    stream.advance(layer);
    model.release_layer(i);
  }
  norms.count(set.conversations() + set.text_windows());
  return norms.scores();
}

}  // namespace

const CalibrationSet& ConversionStatistics::set() {
  if (!set_) {
    const CalibrationOptions& calibration = options_.statistics.calibration;
    const bool distilled = options_.distillation.steps > 0;
    set_ = CalibrationSet::load(
        options_.model,
        config_,
        distilled ? data_to_learn(options_.distillation, calibration) : calibration);
    for (const SampleProblem& problem : set_->problems())
      log_warning("sample {} is left out: {}", problem.id, problem.reason);
    if (distilled) {
      held_out_ = set_->hold_out();
      to_learn_ = std::move(set_);
      set_ = to_learn_->first(calibration.samples, calibration.text_windows);
    }
  }
  return *set_;
}

const CalibrationSet& ConversionStatistics::to_learn() {
  set();
  return to_learn_.value();
}

const CalibrationSet& ConversionStatistics::held_out() {
  set();
  return held_out_.value();
}

const Moments& ConversionStatistics::moments() {
  if (!moments_) {
    MomentsOptions how;
    how.cache_dir = options_.statistics.calibration_cache;
    how.device = options_.device;
    how.cancel = options_.cancel;
    moments_ = Moments::prepare(source_, set(), how);
  }
  return *moments_;
}

at::Tensor ConversionStatistics::scores(const std::string& version) {
  const at::NoGradGuard no_grad;
  const CalibrationCache cache(options_.statistics.calibration_cache, source_, set(), at::kFloat);
  const TextConfig& text = config_.text;
  const std::string name =
      version == "kl" ? fmt::format("kl-{}", options_.statistics.image_weight) : version;
  if (const auto known =
          cache.read(name, {text.num_hidden_layers, text.num_key_value_heads, text.head_dim / 2}))
    return *known;
  at::Tensor found;
  if (version == "kl") {
    KlRankOptions how;
    how.image_weight = options_.statistics.image_weight;
    how.device = options_.device;
    found = kl_scores(source_, set(), how);
  } else {
    found = norm_scores(source_, set(), options_.device);
  }
  cache.write(name, found);
  return found;
}

at::Tensor ConversionStatistics::ranks(const std::string& version) {
  return ranks_of_scores(scores(version));
}

std::unique_ptr<LayerInputs> ConversionStatistics::inputs(bool sequential) {
  if (options_.statistics.factorization == Factorization::Svd) return nullptr;
  if (sequential) return sequential_inputs(source_, set(), options_.device);
  return source_inputs(moments());
}

LayerMetric ConversionStatistics::metric(LayerInputs* inputs, std::int64_t layer) const {
  if (inputs == nullptr) return {};
  const StatisticsOptions& s = options_.statistics;
  const LayerMoments moments = inputs->moments(layer);
  const auto root = [&](double image_weight) {
    return damped_root(moments.second_moment(image_weight).to(options_.device), s.damping);
  };
  LayerMetric out;
  if (s.modality == Modality::Joint) {
    out.root = root(s.image_weight);
    return out;
  }
  const double image = moments.image_tokens(), text = moments.text_tokens();
  check(
      image > 0.0 && text > 0.0,
      ErrorKind::Usage,
      "modality: expected image and text tokens in the calibration data for decoupled, got {} and "
      "{}",
      image,
      text);
  out.image_root = root(1.0);
  out.text_root = root(0.0);
  out.image_share = s.image_weight < 0.0 ? image / (image + text) : s.image_weight;
  return out;
}

}  // namespace vmla
