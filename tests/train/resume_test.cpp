#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "fine_tune_fixture.h"
#include "model/load.h"
#include "train/checkpoints.h"

namespace vmla {
namespace {

using test::golden_dir;
using test::history_of;
using test::same_weights;
using test::small_options;
using test::TempDir;
using test::weights_of;

void run(const TrainingOptions& options) {
  ::testing::internal::CaptureStderr();
  try {
    fine_tune(options, /*log_to_stdout=*/false);
    ::testing::internal::GetCapturedStderr();
  } catch (...) {
    ::testing::internal::GetCapturedStderr();
    throw;
  }
}

std::vector<std::int64_t> steps_below(const fs::path& dir) {
  std::vector<std::int64_t> steps;
  for (const CheckpointDir& checkpoint : list_checkpoints(dir)) steps.push_back(checkpoint.step);
  return steps;
}

struct Case {
  std::string name;
  bool bf16 = false;
  bool masters = true;
  std::int64_t stop = 1;      // the step after which it is interrupted
  std::string model = "mha";  // stored in fp32; gqa in bf16
};

class Resume : public ::testing::TestWithParam<Case> {};

// Six steps in two epochs, logged every second one: step 1 is in the middle of a log window, 3 at
// the end of an epoch, 4 in the middle of the next.
TEST_P(Resume, EqualsAnUninterruptedRun) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "whole");
  options.model_path = golden_dir() / "models" / GetParam().model;
  options.bf16 = GetParam().bf16;
  options.master_weights = GetParam().masters;
  options.saving = Cadence::Steps;
  options.save_steps = 1;
  options.save_total_limit = 0;
  run(options);
  EXPECT_EQ(steps_below(options.output_dir), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));

  const std::string checkpoint = "checkpoint-" + std::to_string(GetParam().stop);
  fs::create_directories(dir / "again");
  fs::copy(dir / "whole" / checkpoint, dir / "again" / checkpoint, fs::copy_options::recursive);
  // What kill -9 in the middle of the next save leaves.
  fs::create_directories(dir / "again/.checkpoint-5.tmp-1");
  dir.write("again/.checkpoint-5.tmp-1/model.safetensors", "half a fi");
  options.output_dir = dir / "again";
  options.resume_from_checkpoint = "True";
  options.dataloader_num_workers = 2;
  run(options);
  EXPECT_FALSE(fs::exists(dir / "again/.checkpoint-5.tmp-1"));
  EXPECT_TRUE(same_weights(weights_of(dir / "again"), weights_of(dir / "whole")));
  EXPECT_EQ(history_of(dir / "again"), history_of(dir / "whole"));
  const auto read = [](const fs::path& path) {
    std::map<std::string, at::Tensor> out;
    const auto file = SafetensorsFile::open(path);
    for (const auto& [name, info] : file->tensors()) out[name] = file->tensor(name).clone();
    return out;
  };
  EXPECT_TRUE(same_weights(read(dir / "again/checkpoint-6/optimizer.safetensors"),
                           read(dir / "whole/checkpoint-6/optimizer.safetensors")));
}

INSTANTIATE_TEST_SUITE_P(Cases,
                         Resume,
                         ::testing::Values(Case{"middle_of_a_log_window", false, true, 1},
                                           Case{"end_of_an_epoch", false, true, 3},
                                           Case{"bf16_with_masters", true, true, 4},
                                           Case{"bf16_without_masters", true, false, 4},
                                           Case{"bf16_file_with_masters", true, true, 4, "gqa"},
                                           Case{"bf16_file_of_fp32", false, true, 4, "gqa"}),
                         [](const auto& c) { return c.param.name; });

TEST(Checkpoints, OldOnesAreRemoved) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.saving = Cadence::Steps;
  options.save_steps = 1;
  options.save_total_limit = 2;
  run(options);
  EXPECT_EQ(steps_below(options.output_dir), (std::vector<std::int64_t>{5, 6}));
}

TEST(Checkpoints, AtTheEndOfEpochsAndTheEnd) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.saving = Cadence::Epoch;
  options.num_train_epochs = 1.5;
  run(options);
  EXPECT_EQ(steps_below(options.output_dir), (std::vector<std::int64_t>{3, 5}));
}

// Weights that the source stores as bf16 need their masters beside them.
TEST(Checkpoints, KeepMastersWhereTheModelFileRounds) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.model_path = golden_dir() / "models/gqa";
  options.saving = Cadence::Steps;
  options.max_steps = 2;
  run(options);
  const auto file = SafetensorsFile::open(dir / "out/checkpoint-2/optimizer.safetensors");
  const std::string name = "language_model.lm_head.weight";
  EXPECT_TRUE(file->contains("master." + name));
  EXPECT_TRUE(test::same_bits(weights_of(dir / "out/checkpoint-2").at(name),
                              file->tensor("master." + name).to(at::kBFloat16)));
  load_vlm(dir / "out/checkpoint-2");
}

TEST(Checkpoints, FindsTheLatest) {
  const TempDir dir;
  for (const char* name :
       {"checkpoint-9", "checkpoint-10", "checkpoint-x", ".checkpoint-99.tmp-1"}) {
    dir.write(std::string("out/") + name + "/trainer_state.json", "{}");
  }
  fs::create_directories(dir / "out/checkpoint-11");  // nothing in it
  EXPECT_EQ(find_resume_dir("True", dir / "out"), dir / "out/checkpoint-10");
  EXPECT_EQ(find_resume_dir("", dir / "out"), std::nullopt);
  EXPECT_EQ(find_resume_dir("False", dir / "out"), std::nullopt);
  EXPECT_EQ(find_resume_dir((dir / "out/checkpoint-9").string(), dir / "elsewhere"),
            dir / "out/checkpoint-9");
  EXPECT_THROW(find_resume_dir("True", dir / "empty"), Error);
  EXPECT_THROW(find_resume_dir((dir / "out/checkpoint-11").string(), dir / "out"), Error);
}

TEST(Checkpoints, DamageIsAnError) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.saving = Cadence::Steps;
  options.max_steps = 2;
  run(options);
  options.max_steps = 4;
  options.resume_from_checkpoint = "True";
  const fs::path checkpoint = dir / "out/checkpoint-2", backup = dir / "backup";
  fs::copy(checkpoint, backup, fs::copy_options::recursive);
  const auto expect_checkpoint_error = [&](const std::string& what) {
    try {
      run(options);
      FAIL() << what;
    } catch (const Error& error) {
      EXPECT_TRUE(error.kind() == ErrorKind::Checkpoint || error.kind() == ErrorKind::Io)
          << what << ": " << error.what();
    }
    fs::remove_all(checkpoint);
    fs::copy(backup, checkpoint, fs::copy_options::recursive);
  };
  fs::remove(checkpoint / "optimizer.safetensors");
  expect_checkpoint_error("no optimizer state");
  fs::resize_file(checkpoint / "optimizer.safetensors", 1000);
  expect_checkpoint_error("truncated optimizer state");
  fs::resize_file(checkpoint / "model.safetensors", 1000);
  expect_checkpoint_error("truncated weights");
  dir.write("out/checkpoint-2/trainer_state.json", "{\"global_step\"");
  expect_checkpoint_error("damaged state");
  options.trainable = Trainable::All;
  expect_checkpoint_error("state of other parameters");
  options.trainable = Trainable::Default;
  run(options);
}

}  // namespace
}  // namespace vmla
