// The recipe transmla: TransMLA's rotation of heads and latent, the same widths in all layers.
#include <algorithm>
#include <vector>

#include "base/log.h"
#include "convert/conversion_probe.h"
#include "convert/layer_method.h"
#include "convert/rorope_layer.h"

namespace vmla {
namespace {

class RoropeMethod : public LayerMethod {
 public:
  explicit RoropeMethod(const MethodInput& input)
      : input_(input), options_(input.options), shape_(input.shape()) {}

  std::int64_t least_budget() const override { return 3; }

  void choose_widths(CalibrationModel& model, const CalibrationStream& source) override {
    const std::int64_t mean = input_.mean();
    components_ = options_.rope_dim / 2;
    check(
        options_.rope_dim == 0 || (options_.rope_dim % 2 == 0 && options_.rope_dim < mean &&
                                   is_rorope_width(shape_, components_)),
        ErrorKind::Usage,
        "rope_dim_for_mla: expected a multiple or an even part of {} below {} for recipe transmla, "
        "got {}",
        shape_.head_dim,
        mean,
        options_.rope_dim);
    if (options_.rope_dim == 0) components_ = best_components(model, source);
  }

  AttentionMoments observe(DecoderLayer& layer, const CalibrationStream& stream) const override {
    return observe_inputs(layer, stream, source_attention(layer, input_.config).k_bias.defined());
  }

  ConvertedAttention make(std::int64_t /*index*/,
                          const SourceAttention& source,
                          const AttentionMoments& moments,
                          StageSeconds& /*seconds*/) const override {
    return make_with(components_, source, moments);
  }

  Json recipe_json() const override {
    const RecipeSteps& steps = options_.steps;
    return {{"name", recipe_name(options_.recipe)},
            {"kv_budget", options_.kv_budget},
            {"rope_layout", "shared"},
            {"factorization", "whitened"},
            {"refit_output", steps.refit_output},
            {"sequential", steps.sequential},
            {"fit_steps", steps.fit_steps},
            {"rank_allocation", "uniform"}};
  }

 private:
  ConvertedAttention make_with(std::int64_t components,
                               const SourceAttention& source,
                               const AttentionMoments& moments) const {
    const std::int64_t latent =
        std::min(input_.mean() - 2 * components, largest_rorope_latent(shape_, components));
    return runnable(make_rorope_layer(source, moments.inputs, components, latent), source);
  }

  // The published method's widths of the rope key differ in how many frequencies share a component.
  // Measured: the one with the least next-token KL on some of the calibration data.
  std::int64_t best_components(CalibrationModel& model, CalibrationStream stream) const {
    const std::vector<std::int64_t> candidates = rorope_candidates(shape_, input_.mean());
    if (candidates.size() == 1) return candidates[0];
    CalibrationOptions some = options_.calibration;
    some.samples = std::min<std::int64_t>(some.samples, 32);
    some.text_windows = std::min<std::int64_t>(some.text_windows, 8);
    const CalibrationSet set = CalibrationSet::load(options_.model, input_.config, some);
    std::vector<std::unique_ptr<ConversionProbe>> probes;
    for (std::size_t c = 0; c < candidates.size(); ++c)
      probes.push_back(std::make_unique<ConversionProbe>(input_.source, set, options_.device));
    for (std::int64_t i = 0; i < model.layers() && !input_.is_cancelled(); ++i) {
      DecoderLayer& layer = model.layer(i);
      const SourceAttention attention = source_attention(layer, input_.config);
      const AttentionMoments moments = observe(layer, stream);
      for (std::size_t c = 0; c < candidates.size(); ++c)
        probes[c]->carry_layer(i, *make_with(candidates[c], attention, moments).attention);
      stream.advance(layer);
      model.release_layer(i);
    }
    if (input_.is_cancelled()) return candidates[0];
    std::vector<double> losses;
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      const NextTokenAgreement agreement = probes[c]->finish();
      losses.push_back(agreement.text.kl + agreement.answers.kl);
      log_info("rope key of {} dims: next-token KL {:.5f}", 2 * candidates[c], losses.back());
    }
    return candidates[static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) -
                                               losses.begin())];
  }

  const MethodInput input_;
  const BestOptions& options_;
  const AttentionShape shape_;
  std::int64_t components_ = 0;  // n
};

}  // namespace

std::unique_ptr<LayerMethod> make_rorope_method(const MethodInput& input) {
  return std::make_unique<RoropeMethod>(input);
}

}  // namespace vmla
