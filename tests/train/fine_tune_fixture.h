// A small dataset and the options to train a golden model on it.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"
#include "train/fine_tune.h"

namespace vmla::test {

// Twelve conversations of different lengths, eight with a picture.
inline Json small_dataset() {
  Json data = Json::array();
  const std::vector<std::string> words{
      "a red train", "two", "the cat sleeps", "no", "near the bridge"};
  for (int i = 0; i < 12; ++i) {
    const bool image = i % 3 != 2;
    std::string answer = words[static_cast<std::size_t>(i) % words.size()];
    for (int repeat = 0; repeat < i % 4; ++repeat) answer += " and " + words[1];
    Json sample{{"id", "s" + std::to_string(i)}};
    if (image) sample["image"] = i % 2 == 0 ? "stripes.png" : "circle.png";
    sample["conversations"] = {
        {{"from", "human"}, {"value", (image ? "<image>\n" : "") + std::string("What is it?")}},
        {{"from", "gpt"}, {"value", answer}}};
    data.push_back(std::move(sample));
  }
  return data;
}

// Trains the golden MHA model in fp32: 12 samples, 2 x 2 per step, so 3 steps an epoch.
inline TrainingOptions small_options(const TempDir& dir, const std::string& output) {
  TrainingOptions options;
  options.model_path = golden_dir() / "models/mha";
  options.device = "cpu";
  options.data_path = dir.write("data.json", small_dataset().dump());
  options.image_folder = golden_dir() / "images";
  options.sample_ratio = 1;
  options.dataloader_num_workers = 0;
  options.output_dir = dir / output;
  options.num_train_epochs = 2;
  options.per_device_train_batch_size = 2;
  options.gradient_accumulation_steps = 2;
  options.learning_rate = 1e-3;
  options.bf16 = false;
  options.gradient_checkpointing = false;
  options.logging_steps = 2;
  options.saving = Cadence::No;
  options.progress = false;
  return options;
}

inline std::map<std::string, at::Tensor> weights_of(const std::filesystem::path& model) {
  const Checkpoint checkpoint = Checkpoint::open(model);
  std::map<std::string, at::Tensor> out;
  for (const std::string& name : checkpoint.names()) out[name] = checkpoint.tensor(name).clone();
  return out;
}

// Bit for bit, by name.
inline ::testing::AssertionResult same_weights(const std::map<std::string, at::Tensor>& got,
                                               const std::map<std::string, at::Tensor>& want) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << got.size() << " tensors, expected " << want.size();
  }
  for (const auto& [name, tensor] : want) {
    if (got.count(name) == 0) return ::testing::AssertionFailure() << name << " is missing";
    const auto same = same_bits(got.at(name), tensor);
    if (!same) return ::testing::AssertionFailure() << name << ": " << same.message();
  }
  return ::testing::AssertionSuccess();
}

// log_history without the times.
inline std::string history_of(const std::filesystem::path& model) {
  Json history = read_json(model / "trainer_state.json").at("log_history");
  for (Json& entry : history) {
    for (const char* key : {"train_runtime",
                            "train_samples_per_second",
                            "train_steps_per_second",
                            "train_data_share"}) {
      entry.erase(key);
    }
  }
  return history.dump();
}

}  // namespace vmla::test
