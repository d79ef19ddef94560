// `eval --benchmark perplexity` and `eval --benchmark agreement`, which need no answers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/benchmark_data.h"
#include "cli/options.h"
#include "dist/process_group.h"
#include "eval/answer_runner.h"
#include "eval/model_hash.h"
#include "model/load.h"

namespace vmla {

struct MeasureFlags {
  std::string text;
  std::int64_t window = 512;
  std::string reference_model;
};

// --text, --window, --reference_model.
void add_measure_flags(CLI::App& verb, MeasureFlags& flags);

bool is_measure(const std::string& benchmark);

// What the other flags of eval say.
struct MeasureRun {
  std::string measure;
  MeasureFlags flags;
  ModelOptions model;
  LoadOptions load;
  bool json = false;
  bool model_hash = true;
  AnswerRunnerOptions runner;
  BenchmarkData data;
  std::string image_root, image_aspect_ratio, prompt;
  bool with_ocr = false;
  std::int64_t max_samples = -1;
  std::uint64_t subset_seed = 0;
  std::string output_dir;  // empty: perplexity writes no file
  bool overwrite = false;
};

// Measures on all ranks of the group; rank 0 writes and prints. Throws CLI::RuntimeError when it is
// interrupted.
void run_measure(const MeasureRun& run, ProcessGroup& group);

// {"version", "device", "threads"}: what a run was made with, beside its settings.
Json program_json(const at::Device& device);
// The hash once it is there; null without one, and with a warning where a file cannot be read.
Json hash_json(std::optional<ModelHash>& hash);

}  // namespace vmla
