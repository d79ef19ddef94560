// Memory and speed of generation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/memory_probe.h"
#include "bench/step_profile.h"
#include "engine/generator.h"

namespace vmla {

struct BenchSettings {
  std::int64_t max_new_tokens = 512;
  std::int64_t num_runs = 5;
  bool force_length = true;  // go on after an end token
};

// Medians over the runs.
struct BenchMeasurement {
  std::int64_t batch_size = 0;
  std::int64_t prompt_tokens = 0;   // a row, the longest
  double output_tokens = 0;         // a row, on average
  std::int64_t weight_bytes = 0;    // of all parameters, exact
  std::int64_t overhead_bytes = 0;  // peak of a run above the level before it
  std::int64_t kv_cache_bytes = 0;  // at the end of a run, exact
  // The peak of all that is allocated beyond the weights and the cache of exactly the tokens made:
  // activations, workspaces, rounding. Only where the probe counts tensors.
  std::optional<std::int64_t> beyond_formula_bytes;
  std::int64_t kv_bytes_per_token = 0;  // of one row, over all layers, exact
  std::string kv_cache_dtype;      // of its planes: "bf16", "int8", "k_rope int8 + latent int4"
  double first_token_seconds = 0;  // images, prefill and the first token
  double decode_tokens_per_second = 0;  // the tokens after it, over all rows
  double tokens_per_second = 0;         // all tokens over the whole time, over all rows
  // What a decode step has to read: the decoder's weights and the rows' cache, at the mean length.
  double step_read_bytes = 0;
  StepProfile profile;  // without kernels: not asked for

  std::int64_t peak_bytes() const { return weight_bytes + overhead_bytes; }
  double prefill_tokens_per_second() const {  // over all rows, images and the first token included
    return static_cast<double>(batch_size * prompt_tokens) / first_token_seconds;
  }
  double read_bytes_per_second() const {
    return step_read_bytes * decode_tokens_per_second / static_cast<double>(batch_size);
  }
};

struct WeightBytes {
  std::int64_t all = 0;
  std::int64_t decode_step = 0;  // that one decode step reads: the decoder's, not the image's
};
WeightBytes weight_bytes(Vlm& model);

// A warm-up of at most 10 tokens, then num_runs runs. weights: of the generator's model.
BenchMeasurement measure_generation(const Generator& generator,
                                    const WeightBytes& weights,
                                    const std::vector<ModelInput>& prompts,
                                    const BenchSettings& settings,
                                    MemoryProbe& probe);

// batch_size prompts of random text tokens, the same in every call.
std::vector<ModelInput> synthetic_prompts(const ModelConfig& config,
                                          std::int64_t batch_size,
                                          std::int64_t tokens);

}  // namespace vmla
