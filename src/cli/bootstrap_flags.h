// The flags of the bootstrap that gives intervals.
#pragma once

#include "cli/flags.h"
#include "eval/statistics.h"

namespace vmla {

// --resamples, --seed
inline void add_bootstrap_flags(CLI::App& verb, BootstrapOptions& bootstrap) {
  add_value(verb, "--resamples", bootstrap.resamples, "N", "bootstrap resamples of the intervals");
  add_value(verb, "--seed", bootstrap.seed, "N", "seed of the bootstrap");
}

}  // namespace vmla
