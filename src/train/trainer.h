// The training loop, with the semantics of Hugging Face's Trainer.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/stopwatch.h"
#include "data/batch_loader.h"
#include "dist/process_group.h"
#include "model/vlm.h"
#include "train/forward.h"
#include "train/gradient_reducer.h"
#include "train/model_source.h"
#include "train/optimizer.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/step_plan.h"
#include "train/train_log.h"
#include "train/training_options.h"

namespace vmla {

// What a run is made of; all outlives the trainer.
struct TrainerParts {
  const TrainingOptions& options;
  const ModelSource& source;
  Vlm& model;
  BatchLoader& loader;
  ProcessGroup& group;
  TrainLog& log;
  std::int64_t samples = 0;  // of the dataset
  Teacher teacher;
};

struct TrainingReport {
  std::int64_t steps = 0;               // of the whole run, before a resume included
  std::int64_t label_tokens = 0;        // likewise
  std::int64_t input_tokens = 0;        // without padding; likewise
  std::int64_t parameters = 0;          // trained ones
  double loss = 0;                      // mean over all steps
  double seconds = 0;                   // of this process
  double tokens_per_second = 0;         // input tokens of all ranks
  double data_seconds = 0;              // waiting for the loader
  std::vector<SampleProblem> problems;  // of this rank
  std::int64_t all_problems = 0;        // of all ranks

  // Of the time, waiting for the loader.
  double data_share() const { return seconds > 0 ? data_seconds / seconds : 0.0; }
  Json json() const;
};

// One step: the gradients of its micro-batches are summed, over all ranks, and divided by the
// labels in all of them (transformers calls that average_tokens_across_devices); clip; AdamW. The
// host waits for the device when a log line or a checkpoint is due, and not in between.
class Trainer {
 public:
  explicit Trainer(const TrainerParts& parts);

  // Trains to the end; resume names a checkpoint directory. Errors: Numeric when the loss is not
  // finite at a log line, Config when an epoch has no label at all, Device when a rank is lost.
  TrainingReport run(const std::optional<fs::path>& resume);
  // The finished model into output_dir. All ranks call it.
  void save_final();

 private:
  void resume_from(const fs::path& dir);
  void step(std::int64_t index);
  void add_micro_batch(bool last);
  void update(const at::Tensor& totals, double learning_rate);
  void take_counts();
  void log_if_due(std::int64_t index);
  void save_if_due(std::int64_t index);
  void check_labels(std::int64_t index);
  bool due(Cadence cadence, std::int64_t every, std::int64_t index) const;
  double rate(std::int64_t step) const {
    return parts_.options.learning_rate * schedule_.factor(step);
  }

  TrainerParts parts_;
  at::Device device_;
  StepPlan plan_;
  Schedule schedule_;
  std::vector<ParameterBucket> buckets_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<GradientReducer> reducer_;
  std::int64_t parameters_ = 0;
  RunState run_;

  at::Tensor loss_;       // fp32 [], of the step so far, undivided
  at::Tensor counts_;     // fp64 [3] on the device since take_counts: loss, labels, input tokens
  at::Tensor grad_norm_;  // fp32 [], of the last step
  std::int64_t labels_ = 0, tokens_ = 0;  // of the step so far, this rank
  Stopwatch watch_;
  double data_seconds_ = 0;
  std::int64_t tokens_before_ = 0;  // those of the run before this process
};

}  // namespace vmla
