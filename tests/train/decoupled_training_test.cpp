// Training a model with factors by modality: the loss is that of the model's own logits, and both
// sets of factors learn from their own tokens.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/collator.h"
#include "support/expect_close.h"
#include "support/tiny_model.h"
#include "train/forward.h"
#include "train/trainable.h"

namespace vmla {
namespace {

using test::close;

TrainBatch batch_with_an_image(const test::TinyShape& shape, bool with_image) {
  TrainBatch batch;
  batch.ids = {"a", "b"};
  batch.input_ids = test::tiny_ids(shape, 2, 12);
  if (with_image) {
    batch.input_ids[0].slice(0, 1, 5).fill_(shape.vocab - 1);
    batch.pixel_values = at::randn({1, 3, 28, 28}, at::detail::createCPUGenerator(2));
  }
  batch.labels = batch.input_ids.clone();
  batch.labels.slice(1, 0, 6).fill_(-100);
  batch.key_mask = at::ones({2, 12}, at::kBool);
  batch.key_mask[1].slice(0, 9).fill_(false);
  batch.labels[1].slice(0, 9).fill_(-100);
  return batch;
}

class DecoupledTraining : public ::testing::Test {
 protected:
  DecoupledTraining() {
    shape_.mla = SvdMethod::Joint;
    shape_.decoupled = true;
    model_ = test::make_tiny_model(shape_);
  }
  test::TinyShape shape_;
  std::unique_ptr<Vlm> model_;
};

TEST_F(DecoupledTraining, LossIsThatOfTheLogits) {
  const TrainBatch batch = batch_with_an_image(shape_, true);
  const at::Tensor logits =
      model_->forward(batch.input_ids, batch.key_mask, batch.pixel_values).slice(1, 0, -1);
  const at::Tensor want = at::cross_entropy_loss(logits.reshape({-1, shape_.vocab}),
                                                 batch.labels.slice(1, 1).reshape(-1),
                                                 {},
                                                 at::Reduction::Sum,
                                                 /*ignore_index=*/-100);
  for (const bool checkpointing : {false, true}) {
    const DeviceBatch device = to_device(batch, model_->config(), at::kCPU);
    EXPECT_TRUE(close(forward_loss(*model_, device, checkpointing), want, {1e-4, 0}));
  }
}

TEST_F(DecoupledTraining, BothSetsLearnFromTheirOwnTokens) {
  const ParameterList latent = select_trainable(model_->parameters(), Trainable::Latent);
  EXPECT_EQ(latent.size(), 2U * (1 + 2 * 3));  // k_r_proj and two sets of three in both layers
  for (const bool with_image : {true, false}) {
    const TrainBatch batch = batch_with_an_image(shape_, with_image);
    forward_loss(*model_, to_device(batch, model_->config(), at::kCPU), /*checkpointing=*/true)
        .backward();
    for (const NamedParameter& p : latent) {
      ASSERT_TRUE(p.tensor->grad().defined()) << p.name;  // or ranks would wait for it
      const double largest = p.tensor->grad().abs().max().item<double>();
      if (!with_image && p.name.find("kv_proj_img") != std::string::npos) {
        EXPECT_EQ(largest, 0.0) << p.name;
      } else {
        EXPECT_GT(largest, 1e-6) << p.name;
      }
      p.tensor->mutable_grad().reset();
    }
  }
}

}  // namespace
}  // namespace vmla
