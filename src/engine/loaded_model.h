// Everything that a model directory holds, checked to belong together.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/generator.h"
#include "input/processor.h"
#include "model/load.h"

namespace vmla {

struct LoadedModel {
  std::unique_ptr<Vlm> vlm;
  std::unique_ptr<Processor> processor;
  std::vector<std::int64_t> end_ids;

  Generator generator(const SessionOptions& session = {}) const;
};

// The processor is read first, so that its faults show before the weights are loaded. Errors: those
// of its parts; Config when the tokenizer or the processor is another model's.
LoadedModel load_model(const fs::path& dir, const LoadOptions& options);

}  // namespace vmla
