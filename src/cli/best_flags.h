// The flags of convert's recipe "best".
#pragma once

#include <string>

#include "cli/flags.h"
#include "convert/best_conversion.h"

namespace vmla {

struct BestFlags {
  std::string rope_layout = "shared";
  RecipeSteps steps;
  double floor_share = 0.0;
};

void add_best_options(CLI::App& verb, BestFlags& flags);

// "25%" or 0.25. Errors: Usage unless it is above 0 and at most the whole.
double parse_share(const std::string& name, const std::string& text);

}  // namespace vmla
