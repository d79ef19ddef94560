#include "demo/heal.h"

#include "base/json.h"
#include "train/fine_tune.h"

namespace vmla {

std::vector<std::pair<double, double>> heal_model(const HealOptions& options) {
  TrainingOptions training;
  training.model_path = options.model;
  training.data_path = options.train_json;
  training.image_folder = options.image_folder;
  training.output_dir = options.output_dir;
  training.sample_ratio = 1.0;
  training.max_steps = options.steps;
  training.per_device_train_batch_size = options.batch_size;
  training.gradient_accumulation_steps = 1;
  training.learning_rate = options.learning_rate;
  training.dataloader_num_workers = 1;
  training.device = options.device.str();
  training.bf16 = !options.device.is_cpu();
  training.gradient_checkpointing = false;
  training.logging_steps = 2;
  training.saving = Cadence::No;
  training.seed = options.seed;
  fine_tune(training, /*log_to_stdout=*/false);

  std::vector<std::pair<double, double>> curve;
  const fs::path state = options.output_dir / "trainer_state.json";
  const Json json = read_json(state);
  for (const auto& entry : json.at("log_history")) {
    if (entry.contains("loss")) {
      curve.emplace_back(json_require<double>(entry, "step", state.string()),
                         json_require<double>(entry, "loss", state.string()));
    }
  }
  return curve;
}

}  // namespace vmla
