// The steps of the recipe "best", each of which can be left out so that its share can be measured.
#pragma once

#include <cstdint>
#include <string>

namespace vmla {

// shared: one rope key of complex components for all heads; per_head: the Python original's layout.
enum class RopeLayout { Shared, PerHead };
RopeLayout parse_rope_layout(const std::string& name);  // Errors: ErrorKind::Usage

// What the low-rank latent minimises: the weights' error, the outputs' error on calibration data,
// or what attention loses by it.
enum class LatentMetric { Svd, Whitened, Attention };
LatentMetric parse_latent_metric(const std::string& name);  // Errors: ErrorKind::Usage

// best, or TransMLA's rotation of heads and latent (rorope_layer.h), of whose steps refit_output,
// sequential and fit_steps hold; its layout is "shared".
enum class LayerRecipe { Best, Transmla };

struct RecipeSteps {
  RopeLayout layout = RopeLayout::Shared;
  LatentMetric metric = LatentMetric::Attention;
  bool logit_metric = true;  // weigh heads by kappa; else all alike
  bool fold = true;          // average rotation of pairs without RoPE
  bool refit_output = true;  // o_proj
  bool sequential = true;    // statistics on the converted stream, targets on the original's
  std::int64_t fit_steps = 100;
  // What a unit of dropped rope error costs against one of dropped latent energy, in the choice of
  // rope and latent widths. Both are in squared output, but the latent's is averaged over all
  // tokens, the rotation's over those that are attended to; 0.1 to 0.5 was best where it was tried.
  double split_gamma = 0.3;
};

}  // namespace vmla
