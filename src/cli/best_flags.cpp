#include "cli/best_flags.h"

#include <charconv>

#include "base/error.h"

namespace vmla {

void add_best_options(CLI::App& verb, BestFlags& flags) {
  RecipeSteps& steps = flags.steps;
  add_value(verb,
            "--rope_layout",
            flags.rope_layout,
            "NAME",
            "best: shared (one rope key for all heads) or per_head (the Python original's)");
  add_value(verb,
            "--fit_steps",
            steps.fit_steps,
            "N",
            "best: optimizer steps on each layer's factors, 0 for none");
  add_switch(
      verb, "--logit_metric", steps.logit_metric, "best: weigh heads by what their logits do");
  add_switch(verb, "--rope_fold", steps.fold, "best: leave an average rotation where RoPE goes");
  add_switch(verb, "--refit_output", steps.refit_output, "best: fit o_proj to the converted heads");
  add_value(verb,
            "--split_gamma",
            steps.split_gamma,
            "X",
            "best: what dropped rotation costs against a dropped latent");
  add_value(verb,
            "--layer_floor",
            flags.floor_share,
            "X",
            "best: least budget of a layer, as a share of the mean; 0: by the budget");
}

double parse_share(const std::string& name, const std::string& text) {
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const bool percent = error == std::errc() && rest + 1 == end && *rest == '%';
  if (percent) value /= 100.0;
  check(error == std::errc() && (rest == end || percent) && value > 0.0 && value <= 1.0,
        ErrorKind::Usage,
        "{}: expected a share such as 25% or 0.25, got {}",
        name,
        text);
  return value;
}

}  // namespace vmla
