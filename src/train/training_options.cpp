#include "train/training_options.h"

#include "base/error.h"

namespace vmla {
namespace {

const char* cadence_name(Cadence cadence) {
  switch (cadence) {
    case Cadence::No:
      return "no";
    case Cadence::Steps:
      return "steps";
    case Cadence::Epoch:
      return "epoch";
  }
  return "?";
}

}  // namespace

Cadence parse_cadence(const std::string& name, const std::string& flag) {
  for (const Cadence cadence : {Cadence::No, Cadence::Steps, Cadence::Epoch}) {
    if (name == cadence_name(cadence)) return cadence;
  }
  fail(ErrorKind::Usage, "{}: expected no, steps or epoch, got {}", flag, name);
}

void check_training_options(const TrainingOptions& o) {
  const auto positive = [](const char* flag, std::int64_t value) {
    check(value >= 1, ErrorKind::Usage, "{}: expected 1 or more, got {}", flag, value);
  };
  const auto not_negative = [](const char* flag, double value) {
    check(value >= 0, ErrorKind::Usage, "{}: expected 0 or more, got {}", flag, value);
  };
  positive("--per_device_train_batch_size", o.per_device_train_batch_size);
  positive("--gradient_accumulation_steps", o.gradient_accumulation_steps);
  not_negative("--dataloader_num_workers", static_cast<double>(o.dataloader_num_workers));
  not_negative("--learning_rate", o.learning_rate);
  check(o.distill_weight >= 0 && o.distill_weight <= 1,
        ErrorKind::Usage,
        "--distill_weight: expected 0 to 1, got {}",
        o.distill_weight);
  not_negative("--weight_decay", o.adam.weight_decay);
  not_negative("--max_grad_norm", o.max_grad_norm);
  not_negative("--warmup_ratio", o.schedule.warmup_ratio);
  not_negative("--warmup_steps", o.schedule.warmup_steps);
  not_negative("--save_total_limit", static_cast<double>(o.save_total_limit));
  check(o.schedule.warmup_ratio <= 1,
        ErrorKind::Usage,
        "--warmup_ratio: expected at most 1, got {}",
        o.schedule.warmup_ratio);
  check(o.logging_steps > 0 && o.save_steps > 0,
        ErrorKind::Usage,
        "--logging_steps, --save_steps: expected more than 0, got {} and {}",
        o.logging_steps,
        o.save_steps);
}

Json training_arguments(const TrainingOptions& o) {
  Json json = Json::object();
  json["model_path"] = o.model_path.string();
  json["init"] = !o.random_init ? "pretrained" : o.keep_tower ? "tower" : "random";
  json["data_path"] = o.data_path.string();
  json["image_folder"] = o.image_folder.string();
  json["image_aspect_ratio"] = o.image_aspect_ratio;
  json["sample_ratio"] = o.sample_ratio;
  json["model_max_length"] = o.model_max_length;
  json["group_by_modality_length"] = o.group_by_modality_length;
  json["trainable"] = trainable_name(o.trainable);
  if (!o.distill_from.empty()) {
    json["distill_from"] = o.distill_from.string();
    json["distill_weight"] = o.distill_weight;
  }
  json["num_train_epochs"] = o.num_train_epochs;
  json["max_steps"] = o.max_steps;
  json["per_device_train_batch_size"] = o.per_device_train_batch_size;
  json["gradient_accumulation_steps"] = o.gradient_accumulation_steps;
  json["learning_rate"] = o.learning_rate;
  json["weight_decay"] = o.adam.weight_decay;
  json["adam_beta1"] = o.adam.beta1;
  json["adam_beta2"] = o.adam.beta2;
  json["adam_epsilon"] = o.adam.eps;
  json["max_grad_norm"] = o.max_grad_norm;
  json["lr_scheduler_type"] = schedule_kind_name(o.schedule.kind);
  json["warmup_ratio"] = o.schedule.warmup_ratio;
  json["warmup_steps"] = o.schedule.warmup_steps;
  json["seed"] = o.seed;
  json["bf16"] = o.bf16;
  json["tf32"] = o.tf32;
  json["master_weights"] = o.master_weights ? "fp32" : "none";
  json["gradient_checkpointing"] = o.gradient_checkpointing;
  json["zero1"] = o.zero1;
  json["logging_strategy"] = cadence_name(o.logging);
  json["logging_steps"] = o.logging_steps;
  json["save_strategy"] = cadence_name(o.saving);
  json["save_steps"] = o.save_steps;
  json["save_total_limit"] = o.save_total_limit;
  return json;
}

}  // namespace vmla
