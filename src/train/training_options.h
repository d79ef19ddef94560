// What a training run is told, with the defaults of the Python original.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/files.h"
#include "base/json.h"
#include "input/chat_template.h"
#include "model/rope_dims.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainable.h"

namespace vmla {

// When something happens: never, every so many steps, at the end of each epoch.
enum class Cadence { No, Steps, Epoch };
// "no", "steps", "epoch". Errors: ErrorKind::Usage naming flag.
Cadence parse_cadence(const std::string& name, const std::string& flag);

struct TrainingOptions {
  fs::path model_path;
  bool random_init = false;  // weights drawn from the seed; model_path needs none
  bool keep_tower = false;   // with random_init: but for the vision tower's, which are read
  RopeDimsSource rope;
  std::string device = "auto";

  fs::path data_path;
  fs::path image_folder = "data/coco2017/train2017";
  std::string image_aspect_ratio = "square";  // "square": as the processor says; "pad", "crop"
  double sample_ratio = 0.01;
  std::optional<ChatStyle> conversation;  // default: the model's
  std::int64_t model_max_length = 2048;
  bool group_by_modality_length = false;
  std::int64_t dataloader_num_workers = 4;
  bool strict = false;  // a sample that cannot be used stops the run

  fs::path output_dir = "./checkpoints/llava-mla-ft";
  bool overwrite_output_dir = false;
  std::string resume_from_checkpoint;  // a directory; "True": the latest one; empty: none

  fs::path distill_from;        // a model whose distribution is learnt, too; empty: none
  double distill_weight = 1.0;  // of the divergence from it; the labels have the rest

  Trainable trainable = Trainable::Default;
  double num_train_epochs = 1;
  std::int64_t max_steps = -1;  // above 0 it wins over the epochs
  std::int64_t per_device_train_batch_size = 4;
  std::int64_t gradient_accumulation_steps = 4;
  double learning_rate = 2e-5;
  AdamWOptions adam;
  ScheduleOptions schedule{.kind = ScheduleKind::Cosine, .warmup_ratio = 0.03};
  double max_grad_norm = 1.0;
  std::uint64_t seed = 42;
  std::optional<std::uint64_t> data_seed;

  bool bf16 = true;
  bool tf32 = true;
  bool master_weights = true;  // fp32 weights, gradients and moments beside bf16 weights
  bool gradient_checkpointing = true;
  bool full_determinism = false;

  Cadence logging = Cadence::Steps;
  double logging_steps = 10;  // below 1: a ratio of all steps
  bool logging_first_step = false;
  Cadence saving = Cadence::Steps;
  double save_steps = 500;            // below 1: a ratio of all steps
  std::int64_t save_total_limit = 3;  // 0: no limit
  bool save_only_model = false;
  bool tensorboard = false;
  fs::path logging_dir;  // default: output_dir/runs/…
  bool progress = true;

  bool zero1 = false;
  std::chrono::seconds ddp_timeout{1800};
};

// Errors: ErrorKind::Usage naming the flag.
void check_training_options(const TrainingOptions& options);
// The flags by name, for the record.
Json training_arguments(const TrainingOptions& options);

}  // namespace vmla
