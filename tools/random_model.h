// Model directories of any shape with random weights, for tests and measurements.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "base/json.h"

namespace vmla {

// Writes config.json and the weights that it asks for: norms are one, all else is normal with
// standard deviation 0.02. Memory stays at one tensor. dir is made.
void write_random_model(const fs::path& dir,
                        const Json& config,
                        std::uint64_t seed,
                        at::ScalarType dtype = at::kBFloat16);

}  // namespace vmla
