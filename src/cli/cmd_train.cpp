#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/rank_options.h"
#include "cli/trainer_flags.h"
#include "dist/rank_layout.h"
#include "hub/hub_cache.h"
#include "train/fine_tune.h"

namespace vmla {
namespace {

struct TrainVerbOptions {
  ModelOptions model;
  OutputOptions output;
  TrainingOptions training;
  TrainerFlags trainer;
  std::string data_path = "liuhaotian/LLaVA-Instruct-150K";
  std::string image_folder, output_dir, init = "pretrained", conversation = "auto";
  std::string master_weights = "fp32", trainable = "default", distill_from;
  RankOptions ranks;
};

void add_data_flags(CLI::App& verb, TrainVerbOptions& o) {
  TrainingOptions& training = o.training;
  add_value(verb,
            "--data_path",
            o.data_path,
            "PATH|ID",
            "LLaVA-Instruct JSON or JSONL, a folder that holds one, or a hub id");
  o.image_folder = training.image_folder.string();
  add_value(verb, "--image_folder", o.image_folder, "DIR", "folder of the images");
  add_value(verb,
            "--image_aspect_ratio",
            training.image_aspect_ratio,
            "NAME",
            "square: as the model's processor says; pad or crop");
  add_value(verb,
            "--sample_ratio",
            training.sample_ratio,
            "X",
            "part of the data, shuffled with seed 42 as the Python original does");
  add_value(verb,
            "--conversation",
            o.conversation,
            "NAME",
            "vicuna_v1, llava_hf, or auto: what the model's chat template matches");
  add_value(verb,
            "--model_max_length",
            training.model_max_length,
            "N",
            "tokens per sample, image tokens included");
  add_switch(verb,
             "--group_by_modality_length",
             training.group_by_modality_length,
             "batches of one modality and of like lengths");
  add_value(verb,
            "--dataloader_num_workers",
            training.dataloader_num_workers,
            "N",
            "threads that decode and preprocess ahead");
  add_switch(verb, "--strict", training.strict, "stop at a sample that cannot be used");
}

void add_model_flags(CLI::App& verb, TrainVerbOptions& o) {
  add_value(verb, "--model_path", o.model.model, "DIR|ID", "model directory or Hugging Face id")
      ->required();
  add_value(verb,
            "--init",
            o.init,
            "NAME",
            "pretrained; random: weights drawn from --seed, only config and tokenizer are read; "
            "tower: the same, but the vision tower is read, too");
  add_value(verb, "--device", o.model.device, "NAME", "auto, cpu, cuda or cuda:N");
  add_switch(verb,
             "--local_files_only",
             o.model.local_files_only,
             "look for hub ids on this machine only");
  add_value(verb, "--revision", o.model.revision, "NAME", "branch, tag or commit of a hub id");
  add_value(verb,
            "--qk_tensor_path",
            o.training.rope.qk_tensor_path,
            "FILE",
            "rank file of a converted model that has lost its own");
  add_value(verb,
            "--source_model",
            o.training.rope.source_model,
            "DIR",
            "unconverted model, in place of a lost rank file");
  add_value(verb,
            "--trainable",
            o.trainable,
            "NAME",
            "default (language model and projector), attention, latent or all");
  add_value(verb,
            "--distill_from",
            o.distill_from,
            "DIR|ID",
            "learn this model's next-token distribution, such as the unconverted model's");
  add_value(verb,
            "--distill_weight",
            o.training.distill_weight,
            "X",
            "of the divergence from it, 0 to 1; the labels have the rest");
  add_value(verb,
            "--master_weights",
            o.master_weights,
            "NAME",
            "fp32: weights, gradients and moments beside bf16 ones; none: all in bf16");
}

void add_rank_flags(CLI::App& verb, TrainVerbOptions& o) {
  add_rank_options(verb, o.ranks);
  add_switch(verb,
             "--zero1",
             o.training.zero1,
             "spread optimizer state and master weights over the ranks");
}

void run_train(TrainVerbOptions& o) {
  TrainingOptions& training = o.training;
  o.trainer.apply(training);
  training.trainable = parse_trainable(o.trainable);
  check(o.master_weights == "fp32" || o.master_weights == "none",
        ErrorKind::Usage,
        "--master_weights: expected fp32 or none, got {}",
        o.master_weights);
  training.master_weights = o.master_weights == "fp32";
  check(o.init == "pretrained" || o.init == "random" || o.init == "tower",
        ErrorKind::Usage,
        "--init: expected pretrained, random or tower, got {}",
        o.init);
  training.random_init = o.init != "pretrained";
  training.keep_tower = o.init == "tower";
  if (o.conversation != "auto") training.conversation = parse_chat_style(o.conversation);
  check_training_options(training);
  if (o.ranks.started_ranks()) return;
  o.output.apply();
  std::error_code ec;
  training.device = o.model.device;
  training.model_path = o.model.directory();
  training.data_path =
      fs::exists(o.data_path, ec) ? fs::path(o.data_path) : resolve_dataset(o.data_path);
  training.image_folder = o.image_folder;
  if (!o.distill_from.empty()) training.distill_from = o.model.directory_of(o.distill_from);
  const TrainingReport report = fine_tune(training, /*log_to_stdout=*/!o.output.json);
  if (!o.output.json || read_rank_layout().rank != 0) return;
  Json json = Json::object();
  json["output_dir"] = absolute_path(training.output_dir.string()).string();
  json.update(report.json());
  print_json(json);
}

}  // namespace

void add_train_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "train");
  const auto options = std::make_shared<TrainVerbOptions>();
  add_model_flags(*verb, *options);
  add_data_flags(*verb, *options);
  options->trainer.add_to(*verb, options->training);
  add_rank_flags(*verb, *options);
  add_output_options(*verb, options->output);
  verb->footer(
      "Flags of transformers' TrainingArguments keep their names and meanings; those that change "
      "nothing\nhere are accepted, the others refused. The loss is averaged over all labels of the "
      "accumulation\nwindow and of all ranks. Several ranks: torchrun, srun, mpirun, or "
      "--nproc_per_node.");
  verb->callback([options] { run_train(*options); });
}

}  // namespace vmla
