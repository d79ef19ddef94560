// The recipe best in the Python original's layout: the same R and r in all layers.
#include "convert/per_head_layer.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "convert/layer_method.h"

namespace vmla {
namespace {

class PerHeadMethod : public LayerMethod {
 public:
  explicit PerHeadMethod(const MethodInput& input)
      : input_(input), options_(input.options), shape_(input.shape()) {}

  std::int64_t least_budget() const override { return 3 * shape_.kv_heads; }

  void choose_widths(CalibrationModel& model, const CalibrationStream& source) override {
    rope_dim_ = options_.rope_dim > 0 ? options_.rope_dim : best_rope_dim(model, source);
    const std::int64_t most = std::min(shape_.head_dim, per_head() - 1);
    check(rope_dim_ % 2 == 0 && rope_dim_ <= most,
          ErrorKind::Usage,
          "rope_dim_for_mla: expected an even number up to {} at this kv_budget, got {}",
          most,
          rope_dim_);
  }

  AttentionMoments observe(DecoderLayer& layer, const CalibrationStream& stream) const override {
    return observe_layer(layer, input_.config, stream, PairMoments::All);
  }

  ConvertedAttention make(std::int64_t /*index*/,
                          const SourceAttention& source,
                          const AttentionMoments& moments,
                          StageSeconds& /*seconds*/) const override {
    const PerHeadLayerFactory factory(source, moments, options_.steps);
    return runnable(factory.make(rope_dim_, latent_dim(rope_dim_)), source);
  }

  Json recipe_json() const override { return best_recipe_json(options_); }

 private:
  std::int64_t per_head() const { return input_.mean() / shape_.kv_heads; }

  std::int64_t latent_dim(std::int64_t rope_dim) const {
    return std::min(per_head() - rope_dim, shape_.hidden / shape_.kv_heads) * shape_.kv_heads;
  }

  // The R that loses least over all layers, each layer's loss counting as a share.
  std::int64_t best_rope_dim(CalibrationModel& model, CalibrationStream stream) const {
    std::vector<std::int64_t> candidates;
    for (const double part : {0.125, 0.25, 0.375, 0.5, 0.625}) {
      const auto r = 2 * static_cast<std::int64_t>(part * static_cast<double>(per_head()) / 2);
      if (r >= 2 && r < per_head() && r <= shape_.head_dim &&
          (candidates.empty() || candidates.back() != r))
        candidates.push_back(r);
    }
    if (candidates.size() <= 1) return candidates.empty() ? 2 : candidates[0];
    std::vector<double> losses(candidates.size(), 0.0);
    for (std::int64_t i = 0; i < model.layers() && !input_.is_cancelled(); ++i) {
      DecoderLayer& layer = model.layer(i);
      const PerHeadLayerFactory factory(
          source_attention(layer, input_.config), observe(layer, stream), options_.steps);
      for (std::size_t c = 0; c < candidates.size(); ++c)
        losses[c] += factory.loss(candidates[c], latent_dim(candidates[c]));
      stream.advance(layer);
      model.release_layer(i);
    }
    return candidates[static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) -
                                               losses.begin())];
  }

  const MethodInput input_;
  const BestOptions& options_;
  const AttentionShape shape_;
  std::int64_t rope_dim_ = 0;
};

}  // namespace

std::unique_ptr<LayerMethod> make_per_head_method(const MethodInput& input) {
  return std::make_unique<PerHeadMethod>(input);
}

}  // namespace vmla
