// What a caller may ask of a generation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace vmla {

// Names and meanings are those of transformers' GenerationConfig.
struct GenerationOptions {
  std::int64_t max_new_tokens = 128;
  double temperature = 0.0;  // 0 = the likeliest token, always
  std::int64_t top_k = 0;    // 0 = off
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  std::uint64_t seed = 0;  // the same seed gives the same text
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

// Errors: ErrorKind::Usage naming the flag.
void check_generation_options(const GenerationOptions& options);

// The tokens that end an answer, from the first place that names any: generation_config.json of the
// model directory (a number or a list), config.json, its text_config, the tokenizer (-1 = none).
std::vector<std::int64_t> end_token_ids(const fs::path& dir,
                                        const Json& config,
                                        std::int64_t tokenizer_eos);

}  // namespace vmla
