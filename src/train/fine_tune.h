// A whole training run: model, data, ranks, loop, result.
#pragma once

#include "train/trainer.h"
#include "train/training_options.h"

namespace vmla {

// Trains options.model_path on options.data_path into options.output_dir. One process of a job; its
// place among the ranks comes from the launcher's environment. log_to_stdout: where Hugging Face's
// log lines go. Errors: Usage, Io, Config, Checkpoint, Device, Numeric.
TrainingReport fine_tune(const TrainingOptions& options, bool log_to_stdout);

}  // namespace vmla
