// The recipe best in the layout "shared": a budget for each layer, split into rope key and latent.
#include <algorithm>
#include <vector>

#include "convert/layer_curves.h"
#include "convert/layer_method.h"
#include "convert/shared_layer.h"

namespace vmla {
namespace {

class SharedMethod : public LayerMethod {
 public:
  explicit SharedMethod(const MethodInput& input) : input_(input), options_(input.options) {}

  std::int64_t least_budget() const override { return 3; }  // a pair and a latent number

  void choose_widths(CalibrationModel& model, const CalibrationStream& source) override {
    const std::int64_t step = budget_step(input_.mean());
    const std::int64_t mean = input_.mean() - input_.mean() % step;
    budgets_.assign(static_cast<std::size_t>(model.layers()), mean);
    if (!options_.curves || mean == input_.full() || model.layers() == 1) return;
    CurveOptions curves;
    curves.steps = options_.steps;
    curves.mean_budget = mean;
    curves.cancel = options_.cancel;
    measured_ = measure_curves(model, source, curves);
    if (input_.is_cancelled()) return;
    const double floor_share = options_.floor_share > 0    ? options_.floor_share
                               : options_.kv_budget < 0.15 ? 0.75
                                                           : 0.5;
    std::vector<LayerCurve> in_steps(measured_.begin(), measured_.end());
    for (LayerCurve& curve : in_steps) {
      for (double& budget : curve.budgets) budget /= static_cast<double>(step);
    }
    budgets_ =
        allocate_budget(in_steps, mean / step * model.layers(), floor_share, input_.full() / step);
    for (std::int64_t& budget : budgets_) budget *= step;
  }

  AttentionMoments observe(DecoderLayer& layer, const CalibrationStream& stream) const override {
    return observe_layer(layer, input_.config, stream, PairMoments::EachAlone);
  }

  // Where to look first the curves say, which saw the source's statistics.
  ConvertedAttention make(std::int64_t index,
                          const SourceAttention& source,
                          const AttentionMoments& moments,
                          StageSeconds& seconds) const override {
    const auto at = static_cast<std::size_t>(index);
    const std::int64_t budget = budgets_[at];
    StageClock clock(source.q.device());
    const SharedLayerFactory factory(source, moments, options_.steps);
    clock.lap(&seconds, "make");
    const std::int64_t components = factory.best_components(
        budget, measured_.empty() ? 0 : components_at(measured_[at], static_cast<double>(budget)));
    clock.lap(&seconds, "split");
    ConvertedAttention made = runnable(
        factory.make(components, std::min(budget - 2 * components, factory.largest_latent())),
        source);
    clock.lap(&seconds, "make");
    return made;
  }

  StageSeconds width_seconds(std::int64_t index) const override {
    return measured_.empty() ? StageSeconds{} : measured_[static_cast<std::size_t>(index)].seconds;
  }

  Json recipe_json() const override { return best_recipe_json(options_); }

 private:
  const MethodInput input_;
  const BestOptions& options_;
  std::vector<std::int64_t> budgets_;
  std::vector<MeasuredCurve> measured_;  // empty without curves
};

}  // namespace

std::unique_ptr<LayerMethod> make_shared_method(const MethodInput& input) {
  return std::make_unique<SharedMethod>(input);
}

}  // namespace vmla
