// The flags that `train` shares with transformers' TrainingArguments.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "train/training_options.h"

namespace vmla {

class TrainerFlags {
 public:
  // Declares the flags; numbers and switches are parsed into options at once.
  void add_to(CLI::App& verb, TrainingOptions& options);
  // The rest, once all is parsed. Errors: ErrorKind::Usage naming the flag.
  void apply(TrainingOptions& options) const;

 private:
  void add_loop_flags(CLI::App& verb, TrainingOptions& options);
  void add_optimizer_flags(CLI::App& verb, TrainingOptions& options);
  void add_output_flags(CLI::App& verb, TrainingOptions& options);
  void add_accepted_flags(CLI::App& verb);

  std::string output_dir_, logging_dir_, report_to_ = "none", optim_ = "adamw_torch";
  std::string scheduler_ = "cosine", scheduler_kwargs_, logging_strategy_ = "steps",
              save_strategy_ = "steps", data_seed_;
  std::int64_t ddp_timeout_ = 1800;
  bool disable_tqdm_ = false;
  // What TrainingArguments has and this program has one answer to.
  struct Accepted {
    std::string name;
    std::vector<std::string> values;  // that mean what this program does; empty: any
    std::string given;
  };
  std::vector<std::unique_ptr<Accepted>> accepted_;
};

}  // namespace vmla
