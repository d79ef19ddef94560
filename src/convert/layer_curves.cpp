#include "convert/layer_curves.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/progress.h"
#include "convert/best_layer.h"
#include "convert/shared_layer.h"
#include "data/conversation_tokens.h"

namespace vmla {
namespace {

constexpr std::array<double, 5> kBudgets{0.5, 0.75, 1.0, 1.5, 2.25};  // of the mean

constexpr std::int64_t kJudgedTokens = 24'576;  // of a kind, at most

// Batches of one kind that hold `samples` of them, evenly over all; fewer where these are long.
std::vector<std::int64_t> judged_batches(const CalibrationStream& stream,
                                         bool is_text,
                                         std::int64_t samples) {
  std::vector<std::int64_t> all, out;
  for (std::int64_t i = 0; i < stream.size(); ++i) {
    if (stream.batch(i).is_text == is_text) all.push_back(i);
  }
  if (all.empty()) return out;
  const at::Tensor& like = stream.batch(all[0]).hidden;
  const std::int64_t size = like.size(0);
  const auto count = static_cast<std::int64_t>(all.size());
  const std::int64_t enough = std::max<std::int64_t>(1, kJudgedTokens / (size * like.size(1)));
  const std::int64_t wanted = std::min({count, (samples + size - 1) / size, enough});
  for (std::int64_t i = 0; i < wanted; ++i)
    out.push_back(all[static_cast<std::size_t>(i * count / wanted)]);
  return out;
}

class Judge {
 public:
  Judge(CalibrationModel& model, const CalibrationStream& stream, const CurveOptions& options)
      : model_(model) {
    model.load_head();
    for (const bool is_text : {false, true}) {
      for (const std::int64_t i :
           judged_batches(stream, is_text, is_text ? options.windows : options.conversations)) {
        Judged judged;
        judged.index = i;
        judged.is_text = is_text;
        const StreamBatch& batch = stream.batch(i);
        // A label stands one place behind the position that predicts it.
        const at::Tensor asked = batch.labels.slice(1, 1) != kIgnoredLabel;
        judged.rows = at::constant_pad_nd(asked, {0, 1}).flatten().nonzero().squeeze(1);
        judged.source = log_probs(batch, batch.hidden, 0, judged.rows);
        batches_.push_back(std::move(judged));
      }
    }
  }

  std::vector<std::int64_t> indices() const {
    std::vector<std::int64_t> out;
    for (const Judged& judged : batches_) out.push_back(judged.index);
    return out;
  }

  // With `attention` in layer `index`, everything else as in the source. stream stands before it.
  double divergence(const CalibrationStream& stream,
                    std::int64_t index,
                    const Attention& attention) {
    std::array<double, 2> sums{}, counts{};
    for (const Judged& judged : batches_) {
      const StreamBatch& batch = stream.batch(judged.index);
      const at::Tensor hidden =
          forward_with(model_.layer(index), attention, batch.hidden, batch.context());
      const at::Tensor got = log_probs(batch, hidden, index + 1, judged.rows);
      const at::Tensor kl = (judged.source.exp() * (judged.source - got)).sum();
      sums[judged.is_text ? 1 : 0] += kl.item<double>();
      counts[judged.is_text ? 1 : 0] += static_cast<double>(judged.rows.size(0));
    }
    double total = 0.0;
    for (std::size_t kind = 0; kind < sums.size(); ++kind)
      total += counts[kind] > 0 ? sums[kind] / counts[kind] : 0.0;
    return std::max(total, 1e-12);
  }

 private:
  struct Judged {
    std::int64_t index = 0;
    bool is_text = false;
    at::Tensor rows;    // int64 [N], positions of B*S
    at::Tensor source;  // [N, V], log-probabilities
  };

  // hidden [B, S, E] before layer `first` -> [N, V].
  at::Tensor log_probs(const StreamBatch& batch,
                       at::Tensor hidden,
                       std::int64_t first,
                       const at::Tensor& rows) {
    for (std::int64_t i = first; i < model_.layers(); ++i)
      hidden = model_.layer(i).forward(hidden, batch.context());
    const Decoder& decoder = model_.vlm().decoder();
    const at::Tensor asked = hidden.flatten(0, 1).index_select(0, rows);
    return decoder.logits(decoder.norm.forward(asked)).to(at::kFloat).log_softmax(-1);
  }

  CalibrationModel& model_;
  std::vector<Judged> batches_;
};

}  // namespace

std::vector<LayerCurve> measure_curves(CalibrationModel& model,
                                       CalibrationStream stream,
                                       const CurveOptions& options) {
  const at::NoGradGuard no_grad;
  Judge judge(model, stream, options);
  const AttentionShape shape = model.config().text.attention_shape();
  std::vector<LayerCurve> curves;
  Progress progress("curves", model.layers(), "layer");
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    DecoderLayer& layer = model.layer(i);
    const SourceAttention source = source_attention(layer, model.config());
    const AttentionMoments moments = observe_layer(layer, model.config(), stream);
    std::vector<LayerSample> samples;
    for (const std::int64_t index : judge.indices()) {
      const StreamBatch& batch = stream.batch(index);
      samples.push_back(layer_sample(layer, model.config(), batch, batch));
    }
    const SharedLayerFactory factory(source, moments, options.steps);
    LayerCurve& curve = curves.emplace_back();
    for (const double factor : kBudgets) {
      if (options.cancel != nullptr && *options.cancel) return curves;
      const std::int64_t budget =
          std::clamp<std::int64_t>(std::llround(factor * static_cast<double>(options.mean_budget)),
                                   3,
                                   2 * shape.kv_heads * shape.head_dim);
      if (!curve.budgets.empty() && static_cast<double>(budget) <= curve.budgets.back()) continue;
      const std::int64_t components = factory.best_components(budget);
      ConvertedAttention converted = runnable(
          factory.make(components, std::min(budget - 2 * components, factory.largest_latent())),
          source);
      if (options.steps.refit_output) refit_output(*converted.attention, samples);
      curve.budgets.push_back(static_cast<double>(budget));
      curve.losses.push_back(judge.divergence(stream, i, *converted.attention));
    }
    stream.advance(layer);
    progress.advance();
  }
  return curves;
}

}  // namespace vmla
