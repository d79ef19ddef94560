// Loss, gradients and AdamW steps against transformers and torch.optim (tests/golden/training).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "model/load.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/run_ranks.h"
#include "train/forward.h"
#include "train/gradient_reducer.h"
#include "train/optimizer.h"
#include "train/trainable.h"

namespace vmla {
namespace {

using test::close;
using test::read_golden;

constexpr int kSteps = 10;
constexpr test::Tolerance kTolerance{1e-6, 1e-4};

std::unique_ptr<Vlm> load(const std::string& name) {
  LoadOptions options;
  options.dtype = at::kFloat;
  if (name != "mla") return load_vlm(test::golden_dir() / "models" / name, options);
  options.rope.qk_tensor_path = (test::golden_dir() / "original/ranks.pth").string();
  return load_vlm(test::golden_dir() / "original/fp32_2norm_joint", options);
}

// Rows of golden batch `index`; each row's images go with it.
TrainBatch batch_of(std::int64_t index, const std::vector<std::int64_t>& rows) {
  static const auto stored = read_golden("training/batches.safetensors");
  const std::string prefix = std::to_string(index) + ".";
  const at::Tensor chosen = at::tensor(rows, at::kLong);
  TrainBatch batch;
  batch.input_ids = stored.at(prefix + "input_ids").index_select(0, chosen);
  batch.labels = stored.at(prefix + "labels").index_select(0, chosen);
  batch.key_mask = stored.at(prefix + "attention_mask").index_select(0, chosen).to(at::kBool);
  // In both batches all images belong to one row: 0 of batch 0, 1 of batch 1.
  for (const std::int64_t row : rows) {
    batch.ids.push_back(std::to_string(row));
    if (row == index) batch.pixel_values = stored.at(prefix + "pixel_values");
  }
  return batch;
}

struct Steps {
  std::vector<double> losses, norms;
  std::map<std::string, at::Tensor> first_gradients;  // divided by the tokens, before clipping
};

struct Variant {
  bool checkpointing = false;
  bool accumulate = false;  // one row a micro-batch
  bool zero1 = false;
};

// Ten steps as the trainer makes them; with several ranks each takes its rows.
Steps train(Vlm& model, ProcessGroup& group, const Variant& variant) {
  const ParameterList trained = select_trainable(model.parameters(), Trainable::All);
  auto buckets = make_buckets(trained, {.bytes = 40'000, .divisor = group.size()});
  AdamW optimizer(buckets,
                  {.weight_decay = 0.1},
                  variant.zero1 ? group.rank() : 0,
                  variant.zero1 ? group.size() : 1);
  GradientReducer reducer(buckets, group, variant.zero1);
  Steps run;
  for (int step = 0; step < kSteps; ++step) {
    std::vector<TrainBatch> window;
    if (variant.accumulate) {
      for (const std::int64_t row : {0, 1}) window.push_back(batch_of(step % 2, {row}));
    } else if (group.size() == 1) {
      window.push_back(batch_of(step % 2, {0, 1}));
    } else if (group.rank() < 2) {
      window.push_back(batch_of(step % 2, {group.rank()}));
    } else {
      window.push_back(collate({}, 0));  // more ranks than rows
    }
    const at::Tensor totals = at::zeros({2});  // loss, tokens
    reducer.begin_window();
    for (std::size_t i = 0; i < window.size(); ++i) {
      const DeviceBatch batch = to_device(window[i], model.config(), at::kCPU);
      const at::Tensor loss = forward_loss(model, batch, variant.checkpointing);
      totals[0] += loss.detach();
      totals[1] += batch.labelled.count();
      reducer.begin_backward(i + 1 == window.size());
      loss.backward();
    }
    reducer.finish_window();
    group.all_reduce(totals)->wait();
    at::Tensor norm = gradient_norm(optimizer.slices());
    if (variant.zero1) {
      norm = norm.square();
      group.all_reduce(norm)->wait();
      norm = norm.sqrt();
    }
    run.losses.push_back((totals[0] / totals[1]).item<float>());
    run.norms.push_back((norm / totals[1]).item<float>());
    if (step == 0) {
      for (const ParameterBucket& bucket : buckets) {
        for (const BucketSlot& slot : bucket.slots) {
          run.first_gradients[slot.name] = slot_view(bucket.gradients, slot) / totals[1];
        }
      }
    }
    optimizer.step(1e-3 * (step + 1) / kSteps, clipped_divisor(norm, totals[1], 1.0));
    if (variant.zero1) {
      for (std::size_t i = 0; i < buckets.size(); ++i) {
        group.all_gather(buckets[i].values, optimizer.slices()[i].values)->wait();
      }
    }
  }
  return run;
}

at::Tensor sample(const at::Tensor& tensor) {
  constexpr std::int64_t kSample = 48;
  const at::Tensor flat = tensor.detach().flatten();
  const std::int64_t step = std::max<std::int64_t>(1, flat.size(0) / kSample);
  return flat.slice(0, 0, std::min(flat.size(0), step * kSample), step);
}

// A key's bias moves all scores of a query alike: its gradient is rounding noise, which Adam
// follows.
bool is_noise(const std::string& name) {
  return name.starts_with("vision_tower") && name.ends_with("k_proj.bias");
}

void expect_golden_steps(const Steps& run, const std::map<std::string, at::Tensor>& golden) {
  EXPECT_TRUE(close(at::tensor(run.losses).to(at::kFloat), golden.at("loss"), kTolerance));
  EXPECT_TRUE(close(at::tensor(run.norms).to(at::kFloat), golden.at("grad_norm"), kTolerance));
}

void expect_golden_parameters(Vlm& model, const std::map<std::string, at::Tensor>& golden) {
  for (const NamedParameter& p : model.parameters()) {
    if (is_noise(p.name)) continue;
    EXPECT_TRUE(close(sample(*p.tensor), golden.at("final." + p.name), {1e-5, 1e-4})) << p.name;
  }
}

class TrainingGolden : public ::testing::TestWithParam<std::string> {
 protected:
  std::map<std::string, at::Tensor> golden_ =
      read_golden("training/" + GetParam() + ".safetensors");
};

TEST_P(TrainingGolden, LossGradientsAndTenSteps) {
  const auto model = load(GetParam());
  const auto alone = single_process();
  const Steps run = train(*model, *alone, {});
  expect_golden_steps(run, golden_);
  expect_golden_parameters(*model, golden_);
  std::set<std::string> expected, got;
  for (const auto& [name, tensor] : golden_) {
    if (name.starts_with("gradient.")) expected.insert(name.substr(9));
  }
  for (const auto& [name, gradient] : run.first_gradients) {
    got.insert(name);
    ASSERT_TRUE(golden_.count("gradient." + name) > 0) << name;
    const double norm = golden_.at("gradient_norm." + name).item<float>();
    if (is_noise(name)) {
      EXPECT_LT(norm, 1e-5) << name;
      continue;
    }
    EXPECT_TRUE(close(gradient.norm(), golden_.at("gradient_norm." + name), {0, 1e-4})) << name;
    // An element is a sum that cancels: what counts is its size beside the whole gradient.
    const double typical = norm / std::sqrt(static_cast<double>(gradient.numel()));
    EXPECT_TRUE(close(sample(gradient), golden_.at("gradient." + name), {1e-4 * typical, 1e-4}))
        << name;
  }
  EXPECT_EQ(got, expected);
}

TEST_P(TrainingGolden, GradientCheckpointingChangesNothing) {
  const auto model = load(GetParam());
  const auto alone = single_process();
  expect_golden_steps(train(*model, *alone, {.checkpointing = true}), golden_);
}

TEST_P(TrainingGolden, AccumulationEqualsTheWholeBatch) {
  const auto model = load(GetParam());
  const auto alone = single_process();
  expect_golden_steps(train(*model, *alone, {.accumulate = true}), golden_);
  expect_golden_parameters(*model, golden_);
}

INSTANTIATE_TEST_SUITE_P(Models,
                         TrainingGolden,
                         ::testing::Values("mha", "gqa", "mla"),
                         [](const auto& model) { return model.param; });

class Ranks : public ::testing::TestWithParam<std::tuple<std::int64_t, bool>> {};

// The rows of a batch have different numbers of labels; with four ranks two have none at all.
TEST_P(Ranks, EqualOneRank) {
  const auto [count, zero1] = GetParam();
  const auto whole = load("mla");
  const auto alone = single_process();
  const Steps expected = train(*whole, *alone, {});
  std::map<std::string, at::Tensor> final_values;
  for (const NamedParameter& p : whole->parameters()) final_values[p.name] = *p.tensor;
  test::run_ranks(count, [&, zero = zero1](ProcessGroup& group) {
    const auto model = load("mla");
    const Steps run = train(*model, group, {.zero1 = zero});
    for (std::size_t i = 0; i < kSteps; ++i) {
      EXPECT_NEAR(run.losses[i], expected.losses[i], 1e-5 * expected.losses[i]) << i;
      EXPECT_NEAR(run.norms[i], expected.norms[i], 1e-5 * expected.norms[i]) << i;
    }
    for (const NamedParameter& p : model->parameters()) {
      if (is_noise(p.name)) continue;
      EXPECT_TRUE(close(p.tensor->detach(), final_values.at(p.name).detach(), {1e-5, 1e-5}))
          << p.name;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Counts,
                         Ranks,
                         ::testing::Combine(::testing::Values(2, 4), ::testing::Bool()),
                         [](const auto& p) {
                           return std::to_string(std::get<0>(p.param)) +
                                  (std::get<1>(p.param) ? "_zero1" : "_replicated");
                         });

}  // namespace
}  // namespace vmla
