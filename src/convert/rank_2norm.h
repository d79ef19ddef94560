// Ranking of rotary pairs by their 2-norm on calibration data (generate_2norm of the Python
// original).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "data/instruct_dataset.h"

namespace vmla {

struct RankOptions {
  fs::path model;
  fs::path output_path;  // .pth; an existing file is replaced
  fs::path dataset;      // .json, .jsonl or a folder that holds one of them
  fs::path image_root;
  std::int64_t sample_size = 1024;  // the first so many entries are read
  std::int64_t batch_size = 1;      // changes speed and memory, not the result
  // Tokens a sample may have. The text's end is cut; a sample whose image does not fit is unusable.
  std::int64_t max_length = 2048;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kBFloat16;
};

struct RankReport {
  at::Tensor scores;  // [L, K, D/2] double
  at::Tensor ranks;   // uint8 [L, K, D]
  std::int64_t used = 0;
  std::vector<SampleProblem> skipped;  // no image or no question: not meant for calibration
  std::vector<SampleProblem> broken;   // malformed, no such image, unreadable image
  double seconds = 0.0;

  Json json() const;
};

// "<image>\n" and the first human message without its image tokens, as the original builds it; no
// chat template. Nothing for a sample without an image or a question.
std::optional<std::string> calibration_prompt(const InstructSample& sample);

// Makes sure that a rank file can be written there, before an hour's work rather than behind it.
void check_rank_output(const fs::path& output);

// Writes output_path. Errors: Usage (sizes below 1), Io, Config, Checkpoint; Unsupported for a
// converted model; Io when no sample is usable, naming the first reason.
RankReport rank_by_2norm(const RankOptions& options);

}  // namespace vmla
