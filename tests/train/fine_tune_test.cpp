#include "train/fine_tune.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "fine_tune_fixture.h"
#include "model/load.h"

namespace vmla {
namespace {

using test::golden_dir;
using test::same_weights;
using test::small_options;
using test::TempDir;
using test::weights_of;

// Log lines go to stderr, which tests keep quiet.
TrainingReport run(const TrainingOptions& options) {
  ::testing::internal::CaptureStderr();
  try {
    TrainingReport report = fine_tune(options, /*log_to_stdout=*/false);
    ::testing::internal::GetCapturedStderr();
    return report;
  } catch (...) {
    ::testing::internal::GetCapturedStderr();
    throw;
  }
}

void expect_error(const TrainingOptions& options, ErrorKind kind, const std::string& part) {
  try {
    run(options);
    FAIL() << "expected an error with " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(FineTune, LearnsAndWritesAModel) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.num_train_epochs = 8;
  options.tensorboard = true;
  const TrainingReport report = run(options);
  EXPECT_EQ(report.steps, 24);
  EXPECT_EQ(report.all_problems, 0);
  const Json history = read_json(dir / "out/trainer_state.json").at("log_history");
  EXPECT_LT(history.at(11).at("loss").get<double>(), 0.7 * history.at(0).at("loss").get<double>());
  EXPECT_EQ(history.at(11).at("step"), 24);
  EXPECT_EQ(history.at(11).at("learning_rate").get<double>(), 0.0);
  EXPECT_TRUE(fs::exists(dir / "out/loss.svg"));
  EXPECT_TRUE(fs::exists(dir / "out/tokenizer.model"));
  EXPECT_FALSE(fs::is_empty(dir / "out/runs"));
  load_vlm(dir / "out");
  // The vision tower is frozen, all else has moved.
  const auto before = weights_of(options.model_path), after = weights_of(dir / "out");
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, tensor] : before) {
    EXPECT_EQ(at::equal(tensor, after.at(name)), name.starts_with("vision_tower.")) << name;
  }
}

// As with transformers' schedulers the first step of a warm-up has a learning rate of 0.
TEST(FineTune, WarmupBeginsAtZero) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.max_steps = 1;
  options.schedule.warmup_steps = 5;
  run(options);
  EXPECT_TRUE(same_weights(weights_of(dir / "out"), weights_of(options.model_path)));
  options.schedule.warmup_steps = 0;
  options.schedule.warmup_ratio = 0;
  options.overwrite_output_dir = true;
  run(options);
  EXPECT_FALSE(same_weights(weights_of(dir / "out"), weights_of(options.model_path)));
}

TEST(FineTune, AccumulationEqualsALargerBatch) {
  const TempDir dir;
  TrainingOptions four = small_options(dir, "four"), one = small_options(dir, "one");
  four.per_device_train_batch_size = 4;
  four.gradient_accumulation_steps = 1;
  one.per_device_train_batch_size = 1;
  one.gradient_accumulation_steps = 4;
  one.gradient_checkpointing = true;
  one.dataloader_num_workers = 3;
  run(four);
  run(one);
  const auto a = weights_of(dir / "four"), b = weights_of(dir / "one");
  for (const auto& [name, tensor] : a) {
    EXPECT_TRUE(test::close(b.at(name), tensor, {2e-6, 1e-5})) << name;
  }
  const Json first = read_json(dir / "four/trainer_state.json").at("log_history").at(0);
  const Json second = read_json(dir / "one/trainer_state.json").at("log_history").at(0);
  EXPECT_EQ(first.at("loss"), second.at("loss"));
}

// Six epochs at a small rate: the loss of bf16 compute with fp32 masters stays beside fp32's.
TEST(FineTune, Bfloat16StaysBesideFloat32) {
  const TempDir dir;
  TrainingOptions wide = small_options(dir, "wide"), narrow = small_options(dir, "narrow");
  for (TrainingOptions* options : {&wide, &narrow}) {
    options->num_train_epochs = 6;
    options->learning_rate = 1e-4;
  }
  narrow.bf16 = true;
  const TrainingReport a = run(wide), b = run(narrow);
  EXPECT_NEAR(b.loss, a.loss, 0.01 * a.loss);
  // The files keep the source's float32, from the masters.
  const auto weights = weights_of(dir / "narrow");
  const at::Tensor head = weights.at("language_model.lm_head.weight");
  EXPECT_EQ(head.scalar_type(), at::kFloat);
  EXPECT_FALSE(at::equal(head, head.to(at::kBFloat16).to(at::kFloat)));
}

TEST(FineTune, ConvertedModelsStaySelfContained) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.model_path = golden_dir() / "original/bf16_2norm_joint";
  options.rope.qk_tensor_path = (golden_dir() / "original/ranks.pth").string();
  options.trainable = Trainable::Latent;
  options.bf16 = true;
  run(options);
  fs::rename(dir / "out", dir / "moved");
  const auto model = load_vlm(dir / "moved");
  const auto before = weights_of(options.model_path), after = weights_of(dir / "moved");
  for (const auto& [name, tensor] : before) {
    EXPECT_EQ(tensor.scalar_type(), after.at(name).scalar_type()) << name;
    EXPECT_EQ(at::equal(tensor, after.at(name)), !is_trainable(Trainable::Latent, name)) << name;
  }
  // The same rows are rotated: with the source's weights the outputs are the source's.
  LoadOptions source_options;
  source_options.rope = options.rope;
  source_options.dtype = at::kFloat;
  const auto source = load_vlm(options.model_path, source_options);
  source_options.rope = {};
  const auto trained = load_vlm(dir / "moved", source_options);
  const ParameterList from = source->parameters(), to = trained->parameters();
  for (std::size_t i = 0; i < from.size(); ++i) to[i].tensor->copy_(*from[i].tensor);
  const at::Tensor ids = at::arange(10, 30, at::kLong).unsqueeze(0);
  EXPECT_TRUE(test::same_bits(trained->forward(ids, {}, {}), source->forward(ids, {}, {})));
  EXPECT_EQ(read_json(dir / "moved/config.json").at("mha2mla").size(), 9U);
}

TEST(FineTune, FromRandomWeights) {
  const TempDir dir;
  fs::create_directories(dir / "config");
  for (const auto& entry : fs::directory_iterator(golden_dir() / "models/mha")) {
    if (entry.path().extension() != ".safetensors") {
      fs::copy_file(entry.path(), dir / "config" / entry.path().filename().string());
    }
  }
  TrainingOptions options = small_options(dir, "out");
  options.model_path = dir / "config";
  options.random_init = true;
  options.trainable = Trainable::All;
  options.num_train_epochs = 10;
  const TrainingReport report = run(options);
  EXPECT_LT(report.loss, 6.0);  // ln 512 = 6.24 where it begins
  load_vlm(dir / "out");
  // Parts that the model does not use are written, too: transformers expects them.
  EXPECT_TRUE(
      Checkpoint::open(dir / "out").contains("vision_tower.vision_model.post_layernorm.weight"));
}

// A new language model behind a trained tower: wider than the one whose tower is read.
TEST(FineTune, FromATrainedTower) {
  const TempDir dir;
  const fs::path source = golden_dir() / "models/mha";
  fs::copy(source, dir / "start");
  Json config = read_json(source / "config.json");
  config["text_config"]["intermediate_size"] =
      config["text_config"]["intermediate_size"].get<std::int64_t>() + 8;
  write_json(dir / "start/config.json", config);
  TrainingOptions options = small_options(dir, "out");
  options.model_path = dir / "start";
  options.random_init = options.keep_tower = true;
  options.max_steps = 1;
  run(options);
  const Checkpoint trained = Checkpoint::open(dir / "out"), from = Checkpoint::open(source);
  std::int64_t tower = 0, others = 0;
  for (const std::string& name : trained.names()) {
    const at::Tensor got = trained.tensor(name);
    if (name.starts_with("vision_tower.")) {
      ++tower;
      EXPECT_TRUE(test::same_bits(got.to(at::kFloat), from.tensor(name).to(at::kFloat))) << name;
    } else if (name.ends_with("q_proj.weight")) {
      ++others;
      EXPECT_FALSE(test::same_bits(got.to(at::kFloat), from.tensor(name).to(at::kFloat))) << name;
    }
  }
  EXPECT_GT(tower, 10);
  EXPECT_GT(others, 1);

  config["vision_config"]["intermediate_size"] =
      config["vision_config"]["intermediate_size"].get<std::int64_t>() + 8;
  write_json(dir / "start/config.json", config);
  options.overwrite_output_dir = true;
  expect_error(options, ErrorKind::Checkpoint, "expected shape");
}

TEST(FineTune, BrokenSamplesAreLeftOutAndCounted) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  Json data = test::small_dataset();
  data[0]["image"] = "missing.png";
  data[1]["conversations"][1]["value"] = "";
  data.push_back({{"id", "no turns"}});
  options.data_path = dir.write("broken.json", data.dump());
  const TrainingReport report = run(options);
  EXPECT_EQ(report.all_problems, 2);  // an empty answer is </s> alone
  std::set<std::string> ids;
  for (const SampleProblem& problem : report.problems) ids.insert(problem.id);
  EXPECT_EQ(ids, (std::set<std::string>{"s0", "no turns"}));
  options.strict = true;
  options.overwrite_output_dir = true;
  expect_error(options, ErrorKind::Config, "no turns");
}

TEST(FineTune, WithoutAnyAnswerIsAnError) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  Json data = test::small_dataset();
  for (Json& sample : data) sample["image"] = "missing.png";
  options.data_path = dir.write("broken.json", data.dump());
  expect_error(options, ErrorKind::Config, "all samples were left out");
  EXPECT_FALSE(fs::exists(dir / "out/config.json"));
}

TEST(FineTune, RefusesToOverwriteARun) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.max_steps = 1;
  run(options);
  expect_error(options, ErrorKind::Usage, "--overwrite_output_dir");
  options.overwrite_output_dir = true;
  run(options);
  options.output_dir = options.model_path;
  expect_error(options, ErrorKind::Usage, "another directory than --model_path");
}

TEST(FineTune, DivergenceIsAnError) {
  const TempDir dir;
  TrainingOptions options = small_options(dir, "out");
  options.learning_rate = 1e30;
  options.schedule.kind = ScheduleKind::Constant;
  options.max_grad_norm = 0;
  options.max_steps = 4;
  expect_error(options, ErrorKind::Numeric, "loss: expected a finite number");
}

}  // namespace
}  // namespace vmla
