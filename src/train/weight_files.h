// Trained weights and optimizer state to files and back, whatever part of them a rank holds.
#pragma once

#include "dist/process_group.h"
#include "train/model_source.h"
#include "train/optimizer.h"

namespace vmla {

// What the functions below work on. All ranks call them together; rank 0 alone writes.
struct TrainedState {
  const ModelSource& source;
  AdamW& optimizer;
  ProcessGroup& group;
};

// The complete model directory, as ModelSource describes it; dir exists.
void write_model(const fs::path& dir, const fs::path& final_dir, const TrainedState& state);

// optimizer.safetensors (or shards): exp_avg.NAME and exp_avg_sq.NAME, whole tensors in the
// parameter's shape, so that any number of ranks can take them up again; master.NAME where the
// model's own file would lose precision; step.
void write_optimizer(const fs::path& dir, const TrainedState& state);

// Both, from a directory in which both were written. Errors: Checkpoint for what is missing or of
// another shape.
void read_trained_state(const fs::path& dir, const TrainedState& state);

}  // namespace vmla
