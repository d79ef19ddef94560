// The verb train as users and launchers run it: flags, ranks as processes, processes that die.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "fine_tune_fixture.h"
#include "support/background.h"
#include "support/run_command.h"
#include "support/run_ranks.h"
#include "train/checkpoints.h"

namespace vmla::test {
namespace {

const std::vector<std::string> kEnvironment{"OMP_NUM_THREADS=1"};

// `train` on the small dataset in fp32; later flags win.
std::vector<std::string> arguments(const TempDir& dir,
                                   const std::string& output,
                                   const std::vector<std::string>& more = {}) {
  std::vector<std::string> all{"train",
                               "--model_path",
                               "tests/golden/models/mha",
                               "--data_path",
                               dir.write("data.json", small_dataset().dump()).string(),
                               "--image_folder",
                               "tests/golden/images",
                               "--output_dir",
                               (dir / output).string(),
                               "--device",
                               "cpu"};
  for (const char* flag : {"--sample_ratio=1",
                           "--bf16=False",
                           "--num_train_epochs=2",
                           "--per_device_train_batch_size=2",
                           "--gradient_accumulation_steps=2",
                           "--learning_rate=1e-3",
                           "--logging_steps=2",
                           "--save_strategy=no",
                           "--dataloader_num_workers=1"}) {
    all.emplace_back(flag);
  }
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

CommandResult train(const TempDir& dir,
                    const std::string& output,
                    const std::vector<std::string>& more = {}) {
  return run_vlm_mla(arguments(dir, output, more), {}, kEnvironment);
}

void expect_close_weights(const fs::path& got, const fs::path& want) {
  const auto a = weights_of(got), b = weights_of(want);
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : b) {
    EXPECT_TRUE(close(a.at(name), tensor, {1e-5, 1e-5})) << name;
  }
}

TEST(TrainVerb, TheOriginalsCommandLine) {
  const TempDir dir;
  const CommandResult result = train(dir,
                                     "out",
                                     {"--bf16",
                                      "True",
                                      "--tf32",
                                      "True",
                                      "--gradient_checkpointing",
                                      "True",
                                      "--optim",
                                      "adamw_torch",
                                      "--report_to",
                                      "none",
                                      "--warmup_ratio",
                                      "0.03",
                                      "--weight_decay",
                                      "0.",
                                      "--lr_scheduler_type",
                                      "cosine",
                                      "--vision_tower",
                                      "openai/clip",
                                      "--remove_unused_columns",
                                      "False",
                                      "--save_strategy",
                                      "steps",
                                      "--save_steps",
                                      "500",
                                      "--evaluation_strategy",
                                      "no",
                                      "--group_by_modality_length",
                                      "True",
                                      "--model_max_length",
                                      "2048",
                                      "--dataloader-num-workers",
                                      "4"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out.find("{'loss': "), 0U) << result.out;
  EXPECT_NE(result.out.find("'epoch': 2.0}\n{'train_runtime': "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("'train_loss': "), std::string::npos);
  EXPECT_TRUE(fs::exists(dir / "out/checkpoint-6/trainer_state.json"));
  EXPECT_TRUE(fs::exists(dir / "out/model.safetensors"));
}

TEST(TrainVerb, Json) {
  const TempDir dir;
  const CommandResult result =
      train(dir, "out", {"--json", "--max_steps", "2", "--dataloader_num_workers", "0"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = parse_json(result.out, "stdout");
  EXPECT_EQ(report.at("steps"), 2);
  EXPECT_EQ(report.at("samples_left_out"), 0);
  EXPECT_GT(report.at("tokens_per_second").get<double>(), 0);
  EXPECT_NE(result.err.find("{'loss': "), std::string::npos);
  // Without threads that work ahead, all of the data path's time is waited for.
  const double share = report.at("data_share").get<double>();
  EXPECT_GT(share, 0);
  EXPECT_LT(share, 1);
  EXPECT_NEAR(
      share, report.at("data_seconds").get<double>() / report.at("seconds").get<double>(), 1e-12);
  const Json last = read_json(dir / "out/trainer_state.json").at("log_history").back();
  EXPECT_NEAR(last.at("train_data_share").get<double>(), share, 1e-4);
}

TEST(TrainVerb, RefusesWhatItWouldNotDo) {
  const TempDir dir;
  const std::vector<std::vector<std::string>> refused{{"--fp16", "True"},
                                                      {"--deepspeed", "zero3.json"},
                                                      {"--evaluation_strategy", "steps"},
                                                      {"--optim", "adafactor"},
                                                      {"--report_to", "wandb"},
                                                      {"--lr_scheduler_type", "polynomial"},
                                                      {"--trainable", "lora"},
                                                      {"--init", "zeros"},
                                                      {"--save_strategy", "best"},
                                                      {"--per_device_train_batch_size", "0"},
                                                      {"--resume_from_checkpoint", "True"},
                                                      {"--image_aspect_ratio", "stretch"},
                                                      {"--sample_ratio", "2"},
                                                      {"--nproc_per_node", "-1"}};
  for (const auto& flags : refused) {
    const CommandResult result = train(dir, "out", flags);
    EXPECT_EQ(result.exit_code, 2) << flags[0] << ": " << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'),
              result.err.find("info:") == std::string::npos ? 1 : 2)
        << result.err;
    EXPECT_FALSE(fs::exists(dir / "out/config.json"));
  }
}

class TrainRanks : public ::testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(TrainRanks, EqualOneProcess) {
  const auto [count, zero1] = GetParam();
  const TempDir dir;
  ASSERT_EQ(train(dir, "one", {"--per_device_train_batch_size", "4"}).exit_code, 0);
  const CommandResult result = train(dir,
                                     "many",
                                     {"--nproc_per_node",
                                      std::to_string(count),
                                      "--per_device_train_batch_size",
                                      std::to_string(4 / count),
                                      "--zero1",
                                      zero1 ? "True" : "False"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  expect_close_weights(dir / "many", dir / "one");
  // One rank alone speaks.
  EXPECT_EQ(result.out.find("{'loss'"), 0U);
  EXPECT_EQ(result.out.find("train_runtime"), result.out.rfind("train_runtime"));
}

INSTANTIATE_TEST_SUITE_P(Counts,
                         TrainRanks,
                         ::testing::Combine(::testing::Values(2, 4), ::testing::Bool()),
                         [](const auto& p) {
                           return std::to_string(std::get<0>(p.param)) +
                                  (std::get<1>(p.param) ? "_zero1" : "_replicated");
                         });

// Checkpoints of two ranks with spread optimizer state are taken up by four, those by one.
TEST(TrainRanks, ResumeWithAnotherWorldSize) {
  const TempDir dir;
  ASSERT_EQ(train(dir, "whole", {"--per_device_train_batch_size", "4"}).exit_code, 0);
  const auto go_on = [&](int count, int batch, const std::string& steps) {
    std::vector<std::string> flags{"--nproc_per_node", std::to_string(count)};
    flags.insert(flags.end(), {"--per_device_train_batch_size", std::to_string(batch)});
    flags.insert(
        flags.end(),
        {"--zero1", "--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "0"});
    if (steps != "1") flags.insert(flags.end(), {"--resume_from_checkpoint", "True"});
    const CommandResult result = train(dir, "parts", flags);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    // Goes back to where this part should have ended.
    for (const CheckpointDir& checkpoint : list_checkpoints(dir / "parts")) {
      if (std::to_string(checkpoint.step) > steps) fs::remove_all(checkpoint.path);
    }
  };
  go_on(2, 2, "1");
  go_on(4, 1, "3");
  go_on(1, 4, "4");
  expect_close_weights(dir / "parts", dir / "whole");
}

TEST(TrainRanks, ARankThatDiesStopsTheJob) {
  const TempDir dir;
  Background job(arguments(dir, "out", {"--nproc_per_node", "3", "--max_steps", "1000000"}),
                 dir / "log");
  ASSERT_TRUE(wait_until([&] { return job.log().find("'loss'") != std::string::npos; }))
      << job.log();
  const std::vector<pid_t> ranks = job.children();
  ASSERT_EQ(ranks.size(), 3U);
  ::kill(ranks[1], SIGKILL);
  const int code = job.wait(std::chrono::seconds(30));
  EXPECT_EQ(code, 8) << job.log();  // ErrorKind::Device
  EXPECT_NE(job.log().find("rank"), std::string::npos) << job.log();
  for (const pid_t pid : ranks) EXPECT_NE(::kill(pid, 0), 0) << pid;  // none is left
}

// Under another launcher nobody stops the rest: they must notice themselves.
TEST(TrainRanks, TheRestNoticeADeadRank) {
  const TempDir dir;
  const auto start = [&](int rank) {
    ::setenv("RANK", std::to_string(rank).c_str(), 1);
    return std::make_unique<Background>(arguments(dir, "out", {"--max_steps", "1000000"}),
                                        dir / ("log" + std::to_string(rank)));
  };
  ::setenv("WORLD_SIZE", "2", 1);
  ::setenv("MASTER_ADDR", "127.0.0.1", 1);
  ::setenv("MASTER_PORT", std::to_string(free_port()).c_str(), 1);
  const auto first = start(0), second = start(1);
  for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) ::unsetenv(name);
  ASSERT_TRUE(wait_until([&] { return first->log().find("'loss'") != std::string::npos; }))
      << first->log();
  second->kill_now();
  EXPECT_EQ(first->wait(std::chrono::seconds(30)), 8) << first->log();
  EXPECT_NE(first->log().find("error: rank 0 of 2: expected an answer of all other ranks"),
            std::string::npos)
      << first->log();
}

TEST(TrainVerb, ResumesAfterBeingKilledInTheMiddleOfASave) {
  const TempDir dir;
  const std::vector<std::string> flags{"--save_strategy", "steps", "--save_steps", "1"};
  ASSERT_EQ(train(dir, "whole", flags).exit_code, 0);
  Background job(arguments(dir, "killed", flags), dir / "log");
  const fs::path output = dir / "killed";
  ASSERT_TRUE(wait_until([&] {
    std::error_code ec;
    if (list_checkpoints(output).empty()) return false;
    for (const auto& entry : fs::directory_iterator(output, ec)) {
      if (entry.path().filename().string().starts_with(".checkpoint-")) return true;
    }
    return false;
  })) << job.log();
  job.kill_now();
  EXPECT_FALSE(fs::exists(output / "config.json"));
  auto again = flags;
  again.insert(again.end(), {"--resume_from_checkpoint", "True"});
  const CommandResult result = train(dir, "killed", again);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(same_weights(weights_of(output), weights_of(dir / "whole")));
  EXPECT_EQ(history_of(output), history_of(dir / "whole"));
  for (const auto& entry : fs::directory_iterator(output)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  }
}

}  // namespace
}  // namespace vmla::test
