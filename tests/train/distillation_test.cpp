// Healing a converted model by what the model it was made from says.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "fine_tune_fixture.h"
#include "model/load.h"
#include "random_model.h"
#include "support/expect_error.h"

namespace vmla {
namespace {

using test::golden_dir;
using test::small_options;
using test::TempDir;

TrainingReport run(const TrainingOptions& options) {
  return fine_tune(options, /*log_to_stdout=*/false);
}

TrainingOptions distillation(const TempDir& dir, const std::string& output) {
  TrainingOptions options = small_options(dir, output);
  options.model_path = golden_dir() / "original/fp32_2norm_joint";
  options.rope.qk_tensor_path = (golden_dir() / "original/ranks.pth").string();
  options.distill_from = golden_dir() / "models/mha";
  options.trainable = Trainable::Latent;
  options.schedule.kind = ScheduleKind::Constant;
  options.schedule.warmup_ratio = 0;
  options.num_train_epochs = 6;
  return options;
}

TEST(Distillation, LeadsAConvertedModelToItsSource) {
  const TempDir dir;
  TrainingOptions still = distillation(dir, "still");
  still.learning_rate = 0;
  still.num_train_epochs = 1;
  const double before = run(still).loss;
  EXPECT_GT(before, 0.01) << "the conversion lost nothing";
  const TrainingOptions options = distillation(dir, "out");
  run(options);
  TrainingOptions after = still;
  after.model_path = options.output_dir;
  after.rope = {};
  after.output_dir = dir / "after";
  EXPECT_LT(run(after).loss, 0.7 * before);
}

TEST(Distillation, WeighsLabelsAgainstTheTeacher) {
  const TempDir dir;
  const auto loss = [&](double weight) {
    TrainingOptions options = distillation(dir, "out");
    options.overwrite_output_dir = true;
    options.learning_rate = 0;
    options.max_steps = 1;
    options.distill_weight = weight;
    return run(options).loss;
  };
  EXPECT_NEAR(loss(0.25), 0.75 * loss(0.0) + 0.25 * loss(1.0), 1e-4);
}

TEST(Distillation, RefusesATeacherOfAnotherVocabulary) {
  const TempDir dir;
  Json config = read_json(golden_dir() / "models/mha/config.json");
  config["text_config"]["vocab_size"] = 600;
  write_random_model(dir / "teacher", config, 1, at::kFloat);
  TrainingOptions options = distillation(dir, "out");
  options.distill_from = dir / "teacher";
  EXPECT_TRUE(test::fails_with(ErrorKind::Config, {"--distill_from"}, [&] { run(options); }));
  options.distill_weight = 1.5;
  EXPECT_TRUE(test::fails_with(ErrorKind::Usage, {"--distill_weight"}, [&] { run(options); }));
}

// The layout "shared" through training: loaded, saved, loaded again.
TEST(SharedLayoutTraining, WeightsAndWidthsSurvive) {
  const TempDir dir;
  fs::copy(golden_dir() / "models/mha", dir / "model", fs::copy_options::recursive);
  fs::remove(dir / "model/model.safetensors");
  Json config = read_json(dir / "model/config.json");
  Json ours = Json::object();
  ours["format_version"] = kVlmMlaFormatVersion;
  set_shared_layers(ours, {{{0, 5, 5}, 12}, {{7}, 20}});
  config["vlm_mla"] = ours;
  write_random_model(dir / "model", config, 3, at::kFloat);
  TrainingOptions options = small_options(dir, "out");
  options.model_path = dir / "model";
  options.trainable = Trainable::Latent;
  options.learning_rate = 0;
  options.max_steps = 1;
  run(options);
  EXPECT_TRUE(test::same_weights(test::weights_of(dir / "out"), test::weights_of(dir / "model")));
  EXPECT_EQ(read_json(dir / "out/config.json").at("vlm_mla").at("layers"), ours.at("layers"));
  options.learning_rate = 1e-2;
  options.schedule.kind = ScheduleKind::Constant;
  options.schedule.warmup_ratio = 0;
  options.output_dir = dir / "trained";
  run(options);
  const auto before = test::weights_of(dir / "model"), after = test::weights_of(dir / "trained");
  for (const char* name : {"q_mix.weight", "k_r_proj.weight", "kv_proj.up_k.weight"}) {
    const std::string full = std::string("language_model.model.layers.0.self_attn.") + name;
    EXPECT_FALSE(test::same_bits(after.at(full), before.at(full))) << name;
  }
  load_vlm(dir / "trained");
}

}  // namespace
}  // namespace vmla
