#include "cli/trainer_flags.h"

#include <algorithm>
#include <cctype>

#include "cli/options.h"

namespace vmla {
namespace {

using Values = std::vector<std::string>;
const Values kTrue{"true"}, kFalse{"false"}, kAny;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

void TrainerFlags::add_to(CLI::App& verb, TrainingOptions& options) {
  add_loop_flags(verb, options);
  add_optimizer_flags(verb, options);
  add_output_flags(verb, options);
  add_accepted_flags(verb);
}

void TrainerFlags::add_loop_flags(CLI::App& verb, TrainingOptions& o) {
  add_value(verb, "--num_train_epochs", o.num_train_epochs, "X", "passes over the data");
  add_value(verb, "--max_steps", o.max_steps, "N", "above 0: steps instead of epochs");
  add_value(verb,
            "--per_device_train_batch_size",
            o.per_device_train_batch_size,
            "N",
            "samples per micro-batch and rank");
  add_value(verb,
            "--gradient_accumulation_steps",
            o.gradient_accumulation_steps,
            "N",
            "micro-batches per step");
  add_switch(verb, "--bf16", o.bf16, "compute in bfloat16 (False: float32)");
  add_switch(verb, "--tf32", o.tf32, "TF32 for float32 products on a GPU");
  add_switch(verb,
             "--gradient_checkpointing",
             o.gradient_checkpointing,
             "compute a layer's activations again in backward instead of keeping them");
  add_value(verb, "--seed", o.seed, "N", "order of the data, and weights that are drawn");
  add_value(verb, "--data_seed", data_seed_, "N", "order of the data alone");
  add_switch(verb,
             "--full_determinism",
             o.full_determinism,
             "the same bits on a GPU each time, more slowly");
  add_value(verb, "--ddp_timeout", ddp_timeout_, "S", "seconds to wait for another rank");
}

void TrainerFlags::add_optimizer_flags(CLI::App& verb, TrainingOptions& o) {
  add_value(verb, "--optim", optim_, "NAME", "adamw_torch or adamw_torch_fused (the same here)");
  add_value(verb, "--learning_rate", o.learning_rate, "X", "peak learning rate");
  add_value(verb,
            "--weight_decay",
            o.adam.weight_decay,
            "X",
            "decoupled decay of all but biases and norms");
  add_value(verb, "--adam_beta1", o.adam.beta1, "X", "AdamW's beta 1");
  add_value(verb, "--adam_beta2", o.adam.beta2, "X", "AdamW's beta 2");
  add_value(verb, "--adam_epsilon", o.adam.eps, "X", "AdamW's epsilon");
  add_value(
      verb, "--max_grad_norm", o.max_grad_norm, "X", "the gradient is clipped to it (0: never)");
  add_value(verb,
            "--lr_scheduler_type",
            scheduler_,
            "NAME",
            "cosine, linear, constant, constant_with_warmup or wsd");
  add_value(verb,
            "--lr_scheduler_kwargs",
            scheduler_kwargs_,
            "JSON",
            "such as '{\"num_decay_steps\": 50}'; wsd without it decays in the last tenth");
  add_value(
      verb, "--warmup_ratio", o.schedule.warmup_ratio, "X", "part of the steps that warms up");
  add_value(verb,
            "--warmup_steps",
            o.schedule.warmup_steps,
            "X",
            "steps that warm up, wins over the ratio; below 1 a ratio itself");
}

void TrainerFlags::add_output_flags(CLI::App& verb, TrainingOptions& o) {
  output_dir_ = o.output_dir.string();
  add_value(verb, "--output_dir", output_dir_, "DIR", "checkpoints and the finished model");
  add_switch(verb,
             "--overwrite_output_dir,--overwrite",
             o.overwrite_output_dir,
             "replace an earlier run there");
  add_value(verb,
            "--resume_from_checkpoint",
            o.resume_from_checkpoint,
            "DIR|True",
            "go on from a checkpoint; True: the latest one in --output_dir");
  add_value(verb, "--logging_strategy", logging_strategy_, "NAME", "steps, epoch or no");
  add_value(
      verb, "--logging_steps", o.logging_steps, "X", "steps between log lines; below 1 a ratio");
  add_switch(verb, "--logging_first_step", o.logging_first_step, "log the first step, too");
  add_value(verb, "--save_strategy", save_strategy_, "NAME", "steps, epoch or no");
  add_value(verb, "--save_steps", o.save_steps, "X", "steps between checkpoints; below 1 a ratio");
  add_value(verb,
            "--save_total_limit",
            o.save_total_limit,
            "N",
            "checkpoints that are kept, the latest ones (0: all)");
  add_switch(verb, "--save_only_model", o.save_only_model, "checkpoints without optimizer state");
  add_value(verb, "--report_to", report_to_, "NAME", "none or tensorboard");
  add_value(
      verb, "--logging_dir", logging_dir_, "DIR", "of TensorBoard (default output_dir/runs/…)");
  add_switch(verb, "--disable_tqdm", disable_tqdm_, "no progress bar");
}

void TrainerFlags::add_accepted_flags(CLI::App& verb) {
  const std::vector<std::pair<std::string, Values>> table{
      {"--vision_tower", kAny},  // part of the model; the original ignores it as well
      {"--run_name", kAny},
      {"--version", {"v1", "vicuna_v1"}},
      {"--local_rank", kAny},
      {"--log_level", kAny},
      {"--remove_unused_columns", kAny},
      {"--dataloader_pin_memory", kAny},
      {"--dataloader_persistent_workers", kAny},
      {"--dataloader_prefetch_factor", kAny},
      {"--ddp_find_unused_parameters", kAny},
      {"--lazy_preprocess", kAny},
      {"--is_multimodal", kTrue},
      {"--save_safetensors", kTrue},
      {"--do_train", kTrue},
      {"--average_tokens_across_devices", kTrue},
      {"--skip_memory_metrics", kAny},
      {"--fp16", kFalse},
      {"--do_eval", kFalse},
      {"--push_to_hub", kFalse},
      {"--load_best_model_at_end", kFalse},
      {"--torch_compile", kFalse},
      {"--ignore_data_skip", kFalse},
      {"--dataloader_drop_last", kFalse},
      {"--eval_strategy", {"no"}},
      {"--evaluation_strategy", {"no"}},
  };
  for (const auto& [name, values] : table) {
    accepted_.push_back(std::make_unique<Accepted>(Accepted{name, values, {}}));
    verb.add_option(name, accepted_.back()->given)
        ->expected(0, 1)
        ->default_str("")
        ->group("")
        ->take_last();
  }
}

void TrainerFlags::apply(TrainingOptions& o) const {
  for (const auto& flag : accepted_) {
    const std::string given = lower(flag->given);
    if (flag->given.empty() || flag->values.empty()) continue;
    check(std::find(flag->values.begin(), flag->values.end(), given) != flag->values.end(),
          ErrorKind::Usage,
          "{}: expected {}, got {}",
          flag->name,
          fmt::join(flag->values, " or "),
          flag->given);
  }
  o.output_dir = output_dir_;
  o.logging_dir = logging_dir_;
  o.logging = parse_cadence(logging_strategy_, "--logging_strategy");
  o.saving = parse_cadence(save_strategy_, "--save_strategy");
  o.progress = !disable_tqdm_;
  o.ddp_timeout = std::chrono::seconds(ddp_timeout_);
  if (!data_seed_.empty()) o.data_seed = std::stoull(data_seed_);
  check(report_to_ == "none" || report_to_ == "tensorboard",
        ErrorKind::Usage,
        "--report_to: expected none or tensorboard, got {}",
        report_to_);
  o.tensorboard = report_to_ == "tensorboard";
  check(optim_ == "adamw_torch" || optim_ == "adamw_torch_fused",
        ErrorKind::Usage,
        "--optim: expected adamw_torch, got {}",
        optim_);
  o.schedule.kind = parse_schedule_kind(scheduler_);
  if (!scheduler_kwargs_.empty()) {
    apply_schedule_kwargs(parse_json(scheduler_kwargs_, "--lr_scheduler_kwargs", ErrorKind::Usage),
                          o.schedule);
  }
}

}  // namespace vmla
