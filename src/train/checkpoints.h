// checkpoint-N directories below output_dir: written whole or not at all, found, thinned out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/run_state.h"
#include "train/weight_files.h"

namespace vmla {

struct CheckpointDir {
  std::int64_t step = 0;
  fs::path path;
};

// Complete checkpoints below output_dir, by ascending step. Unfinished ones (".checkpoint-…") do
// not count.
std::vector<CheckpointDir> list_checkpoints(const fs::path& output_dir);

// --resume_from_checkpoint: empty or "False" -> none; "True" -> the latest one below output_dir;
// else the directory itself. Errors: ErrorKind::Usage when there is none.
std::optional<fs::path> find_resume_dir(const std::string& value, const fs::path& output_dir);

struct CheckpointOptions {
  std::int64_t total_limit = 0;  // 0: keep all
  bool only_model = false;       // no optimizer state: cannot be resumed
};

// Hugging Face's layout: model weights, config and sidecar files, optimizer.safetensors,
// scheduler.safetensors, rng_state.safetensors, trainer_state.json, training_args.json. All ranks
// call it. Errors: ErrorKind::Io; an unfinished directory is removed.
void save_checkpoint(const fs::path& output_dir,
                     const RunState& run,
                     const Json& arguments,
                     double learning_rate,
                     const TrainedState& state,
                     const CheckpointOptions& options);
// Everything but the random state of a device that is not there is taken up again. All ranks call
// it. Errors: Io, Checkpoint.
RunState load_checkpoint(const fs::path& dir, const TrainedState& state, at::Device device);

// The finished model into output_dir itself, beside the checkpoints, file by file.
void save_final_model(const fs::path& output_dir, const RunState& run, const TrainedState& state);

// Removes what an interrupted save has left.
void remove_unfinished(const fs::path& output_dir);

}  // namespace vmla
