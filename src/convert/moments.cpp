#include "convert/moments.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/progress.h"

namespace vmla {
namespace {

std::string layer_name(std::int64_t layer) {
  return fmt::format("layer-{:03}", layer);
}

std::vector<std::int64_t> sums_shape(std::int64_t hidden) {
  return {2, hidden + 1, hidden + 1};
}

}  // namespace

std::pair<double, double> modality_weights(double image_tokens,
                                           double text_tokens,
                                           double image_weight) {
  if (image_weight < 0.0 || image_tokens == 0.0 || text_tokens == 0.0) {
    const double all = std::max(1.0, image_tokens + text_tokens);
    return {1.0 / all, 1.0 / all};
  }
  return {image_weight / image_tokens, (1.0 - image_weight) / text_tokens};
}

at::Tensor LayerMoments::second_moment(double image_weight) const {
  const auto [image, text] = modality_weights(image_tokens(), text_tokens(), image_weight);
  const at::Tensor mean = sums[0] * image + sums[1] * text;
  const std::int64_t hidden = mean.size(0) - 1;
  return mean.narrow(0, 0, hidden).narrow(1, 0, hidden).contiguous();
}

at::Tensor LayerMoments::mean(double image_weight) const {
  const auto [image, text] = modality_weights(image_tokens(), text_tokens(), image_weight);
  return (sums[0][-1] * image + sums[1][-1] * text).slice(0, 0, -1);
}

void MomentsAccumulator::add(const at::Tensor& x, const StreamBatch& batch) {
  const std::int64_t hidden = x.size(2);
  if (!sums_.defined())
    sums_ = at::zeros({2, hidden + 1, hidden + 1}, x.options().dtype(at::kDouble));
  const auto add_tokens = [&](const at::Tensor& which, at::Tensor sum) {
    const at::Tensor rows = x.index({which}).to(at::kDouble);
    const at::Tensor row = at::cat({rows, at::ones({rows.size(0), 1}, rows.options())}, 1);
    sum.addmm_(row.t(), row);
  };
  add_tokens(batch.image, sums_[0]);
  add_tokens(batch.text(), sums_[1]);
}

LayerMoments MomentsAccumulator::finish() const {
  check(sums_.defined() && at::isfinite(sums_).all().item<bool>(),
        ErrorKind::Numeric,
        "calibration: expected finite activations, got NaN or infinity");
  return {sums_.to(at::kCPU)};
}

Moments Moments::prepare(const Checkpoint& checkpoint,
                         const CalibrationSet& set,
                         const MomentsOptions& options) {
  const at::NoGradGuard no_grad;
  CalibrationModel model(checkpoint, options.device, options.dtype);
  const std::int64_t hidden = model.config().text.hidden_size;
  Moments out(CalibrationCache(options.cache_dir, checkpoint, set, options.dtype), hidden);
  std::vector<bool> missing;
  for (std::int64_t i = 0; i < model.layers(); ++i)
    missing.push_back(!out.cache_.read(layer_name(i), sums_shape(hidden)));
  const auto last = std::find(missing.rbegin(), missing.rend(), true).base() - missing.begin();
  if (last == 0) return out;

  model.load_inputs();
  CalibrationStream stream(model, set);
  model.release_inputs();
  Progress progress("calibrate", last, "layer");
  for (std::int64_t i = 0; i < last; ++i) {
    if (options.cancel != nullptr && *options.cancel) break;
    const DecoderLayer& layer = model.layer(i);
    if (missing[static_cast<std::size_t>(i)]) {
      MomentsAccumulator sums;
      for (std::int64_t b = 0; b < stream.size(); ++b)
        sums.add(attention_input(layer, stream.batch(b)), stream.batch(b));
      out.cache_.write(layer_name(i), sums.finish().sums);
      ++out.computed_;
    }
    if (i + 1 < last) stream.advance(layer);
    model.release_layer(i);
    progress.advance();
  }
  return out;
}

LayerMoments Moments::layer(std::int64_t index) const {
  const auto sums = cache_.read(layer_name(index), sums_shape(hidden_));
  check(sums.has_value(),
        ErrorKind::Io,
        "{}: expected the moments of layer {}, they are gone",
        cache_.dir().string(),
        index);
  return {*sums};
}

}  // namespace vmla
