#include "convert/layer_method.h"

#include <array>
#include <cmath>

namespace vmla {

std::int64_t MethodInput::mean() const {
  return static_cast<std::int64_t>(std::floor(options.kv_budget * static_cast<double>(full())));
}

std::unique_ptr<LayerMethod> make_layer_method(const MethodInput& input) {
  if (input.options.recipe == LayerRecipe::Transmla) return make_rorope_method(input);
  return input.options.steps.layout == RopeLayout::Shared ? make_shared_method(input)
                                                          : make_per_head_method(input);
}

const char* recipe_name(LayerRecipe recipe) {
  return recipe == LayerRecipe::Transmla ? "transmla" : "best";
}

Json best_recipe_json(const BestOptions& options) {
  const RecipeSteps& steps = options.steps;
  constexpr std::array<const char*, 3> kMetrics{"svd", "whitened", "attention"};
  return {{"name", recipe_name(options.recipe)},
          {"kv_budget", options.kv_budget},
          {"rope_layout", steps.layout == RopeLayout::Shared ? "shared" : "per_head"},
          {"factorization", kMetrics.at(static_cast<std::size_t>(steps.metric))},
          {"logit_metric", steps.logit_metric},
          {"rope_fold", steps.fold},
          {"refit_output", steps.refit_output},
          {"sequential", steps.sequential},
          {"fit_steps", steps.fit_steps},
          {"split_gamma", steps.split_gamma},
          {"rank_allocation", options.curves ? "curves" : "uniform"}};
}

}  // namespace vmla
