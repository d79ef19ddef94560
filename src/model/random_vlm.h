// A model of given shapes with random weights, made on the device: speed and memory need no file.
#pragma once

#include <memory>

#include "base/json.h"
#include "model/load.h"

namespace vmla {

// config: a config.json's content; of a converted model too, if its rotary selection needs no rank
// file. Matrices are normal with a deviation of 0.02, norms 1, biases 0. dtype default: bfloat16.
// Errors: Config, Usage (a selection by ranks).
std::unique_ptr<Vlm> random_vlm(const Json& config,
                                const std::string& subject,
                                const LoadOptions& options = {});

}  // namespace vmla
