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

// Of a kind. o_proj has thousands of columns to fit; a mean over answers' tokens, the same ones for
// all layers, is done with what some sixty conversations with short answers ask for.
constexpr std::int64_t kMostFitted = 24'576, kEnoughAsked = 1'024;

// So many of the batches, evenly over all.
std::vector<std::int64_t> spread(const std::vector<std::int64_t>& batches, std::int64_t wanted) {
  const auto count = static_cast<std::int64_t>(batches.size());
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < wanted; ++i)
    out.push_back(batches[static_cast<std::size_t>(i * count / wanted)]);
  return out;
}

std::int64_t asked_tokens(const CalibrationStream& stream,
                          const std::vector<std::int64_t>& batches) {
  std::int64_t asked = 0;
  for (const std::int64_t i : batches)
    asked += (stream.batch(i).labels.slice(1, 1) != kIgnoredLabel).sum().item<std::int64_t>();
  return asked;
}

// The batches that candidates' o_proj is fitted on and, among them, those they are judged on.
struct CurveBatches {
  std::vector<std::int64_t> fitted, judged;

  CurveBatches(const CalibrationStream& stream, const CurveOptions& options) {
    for (const bool is_text : {false, true}) {
      std::vector<std::int64_t> all;
      for (std::int64_t i = 0; i < stream.size(); ++i) {
        if (stream.batch(i).is_text == is_text) all.push_back(i);
      }
      if (all.empty()) continue;
      const at::Tensor& like = stream.batch(all[0]).hidden;
      const std::int64_t size = like.size(0),
                         samples = is_text ? options.windows : options.conversations,
                         room = std::max<std::int64_t>(1, kMostFitted / (size * like.size(1)));
      const auto some = spread(
          all,
          std::min({static_cast<std::int64_t>(all.size()), (samples + size - 1) / size, room}));
      std::vector<std::int64_t> few;
      do {
        few = spread(some, static_cast<std::int64_t>(few.size()) + 1);
      } while (few.size() < some.size() && asked_tokens(stream, few) < kEnoughAsked);
      fitted.insert(fitted.end(), some.begin(), some.end());
      judged.insert(judged.end(), few.begin(), few.end());
    }
  }
};

// Judges what stands in one layer by what the rest of the source makes of it.
class Judge {
 public:
  Judge(CalibrationModel& model,
        const CalibrationStream& stream,
        const std::vector<std::int64_t>& batches)
      : model_(model) {
    model.load_head();
    std::vector<at::Tensor> streams;
    for (const std::int64_t i : batches) {
      const StreamBatch& batch = stream.batch(i);
      // A label stands one place behind the position that predicts it.
      const at::Tensor asked = batch.labels.slice(1, 1) != kIgnoredLabel;
      batches_.push_back({i,
                          batch.is_text,
                          at::constant_pad_nd(asked, {0, 1}).flatten().nonzero().squeeze(1),
                          {}});
      streams.push_back(batch.hidden);
    }
    std::vector<std::vector<at::Tensor>> source{std::move(streams)};
    carry(stream, source, 0);
    for (std::size_t b = 0; b < batches_.size(); ++b)
      batches_[b].source = log_probs(source[0][b], batches_[b].rows);
  }

  // The judged batches behind layer `index` with `attention` in it. stream stands before it.
  std::vector<at::Tensor> behind(const CalibrationStream& stream,
                                 std::int64_t index,
                                 const Attention& attention) {
    std::vector<at::Tensor> out;
    for (const Judged& judged : batches_) {
      const StreamBatch& batch = stream.batch(judged.index);
      out.push_back(forward_with(model_.layer(index), attention, batch.hidden, batch.context()));
    }
    return out;
  }

  // Of each candidate, given what is behind layer `index` with it.
  std::vector<double> divergences(const CalibrationStream& stream,
                                  std::int64_t index,
                                  std::vector<std::vector<at::Tensor>> candidates) {
    carry(stream, candidates, index + 1);
    std::vector<double> out;
    for (const std::vector<at::Tensor>& candidate : candidates)
      out.push_back(divergence(candidate));
    return out;
  }

 private:
  struct Judged {
    std::int64_t index = 0;
    bool is_text = false;
    at::Tensor rows;    // int64 [N], positions of B*S
    at::Tensor source;  // [N, V], log-probabilities
  };

  // Through all layers from `first` on, one layer after the other in memory.
  void carry(const CalibrationStream& stream,
             std::vector<std::vector<at::Tensor>>& candidates,
             std::int64_t first) {
    for (std::int64_t i = first; i < model_.layers(); ++i) {
      const DecoderLayer& layer = model_.layer(i);
      for (std::vector<at::Tensor>& candidate : candidates) {
        for (std::size_t b = 0; b < batches_.size(); ++b)
          candidate[b] = layer.forward(candidate[b], stream.batch(batches_[b].index).context());
      }
      model_.release_layer(i);
    }
  }

  double divergence(const std::vector<at::Tensor>& last) const {
    std::array<double, 2> sums{}, counts{};
    for (std::size_t b = 0; b < batches_.size(); ++b) {
      const Judged& judged = batches_[b];
      const at::Tensor got = log_probs(last[b], judged.rows);
      const at::Tensor kl = (judged.source.exp() * (judged.source - got)).sum();
      sums[judged.is_text ? 1 : 0] += kl.item<double>();
      counts[judged.is_text ? 1 : 0] += static_cast<double>(judged.rows.size(0));
    }
    double total = 0.0;
    for (std::size_t kind = 0; kind < sums.size(); ++kind)
      total += counts[kind] > 0 ? sums[kind] / counts[kind] : 0.0;
    return std::max(total, 1e-12);
  }

  // hidden [B, S, E] behind the last layer -> [N, V].
  at::Tensor log_probs(const at::Tensor& hidden, const at::Tensor& rows) const {
    const Decoder& decoder = model_.vlm().decoder();
    const at::Tensor asked = hidden.flatten(0, 1).index_select(0, rows);
    return decoder.logits(decoder.norm.forward(asked)).to(at::kFloat).log_softmax(-1);
  }

  CalibrationModel& model_;
  std::vector<Judged> batches_;
};

// The budgets around the mean, ascending and different.
std::vector<std::int64_t> budgets_around(std::int64_t mean, const AttentionShape& shape) {
  std::vector<std::int64_t> out;
  for (const double factor : kBudgets) {
    const std::int64_t budget = std::clamp<std::int64_t>(
        std::llround(factor * static_cast<double>(mean)), 3, 2 * shape.kv_heads * shape.head_dim);
    if (out.empty() || budget > out.back()) out.push_back(budget);
  }
  return out;
}

}  // namespace

std::vector<MeasuredCurve> measure_curves(CalibrationModel& model,
                                          CalibrationStream stream,
                                          const CurveOptions& options) {
  const at::NoGradGuard no_grad;
  model.keep_packed();
  const CurveBatches batches(stream, options);
  Judge judge(model, stream, batches.judged);
  const std::vector<std::int64_t> budgets =
      budgets_around(options.mean_budget, model.config().text.attention_shape());
  std::vector<MeasuredCurve> curves;
  Progress progress("curves", model.layers(), "layer");
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    if (options.cancel != nullptr && *options.cancel) return curves;
    StageClock clock(model.vlm().device());
    DecoderLayer& layer = model.layer(i);
    const SourceAttention source = source_attention(layer, model.config());
    const AttentionMoments moments =
        observe_layer(layer, model.config(), stream, PairMoments::EachAlone);
    MeasuredCurve curve;
    clock.lap(&curve.seconds, "observe");
    std::vector<LayerSample> samples;
    for (const std::int64_t index : batches.fitted) {
      const StreamBatch& batch = stream.batch(index);
      samples.push_back(layer_sample(layer, model.config(), batch, batch));
    }
    const SharedLayerFactory factory(source, moments, options.steps);
    clock.lap(&curve.seconds, "make");
    std::vector<std::vector<at::Tensor>> candidates;
    for (std::size_t b = 0; b < budgets.size(); ++b) {
      const std::int64_t budget = budgets[b];
      // Near what a smaller budget's was, else what the layer before had.
      const std::int64_t start = b > 0 ? curve.components.back() * budget / budgets[b - 1]
                                 : curves.empty() ? 0
                                                  : curves.back().components.front();
      curve.budgets.push_back(static_cast<double>(budget));
      curve.components.push_back(factory.best_components(budget, start));
      clock.lap(&curve.seconds, "split");
      ConvertedAttention converted =
          runnable(factory.make_to_judge(curve.components.back(), budget), source);
      clock.lap(&curve.seconds, "make");
      if (options.steps.refit_output) refit_output(*converted.attention, samples);
      clock.lap(&curve.seconds, "refit");
      candidates.push_back(judge.behind(stream, i, *converted.attention));
      clock.lap(&curve.seconds, "judge");
    }
    stream.advance(layer);
    model.release_layer(i);
    clock.lap(&curve.seconds, "advance");
    curve.losses = judge.divergences(stream, i, std::move(candidates));
    clock.lap(&curve.seconds, "judge");
    curves.push_back(std::move(curve));
    progress.advance();
  }
  return curves;
}

}  // namespace vmla
