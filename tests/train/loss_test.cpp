#include "train/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_close.h"

namespace vmla {
namespace {

using test::close;

Decoder head_only(std::int64_t vocabulary, std::int64_t width) {
  Decoder decoder;
  decoder.lm_head = at::randn({vocabulary, width}).requires_grad_(true);
  return decoder;
}

TEST(LabelledRows, PredictsTheNextToken) {
  const at::Tensor labels =
      at::tensor({7, -100, 5, -100, -100, -100, -100, 9}, at::kLong).view({2, 4});
  const LabelledRows labelled = labelled_rows(labels);
  // The first column (7) has nothing before it.
  EXPECT_TRUE(test::same_bits(labelled.rows, at::tensor({1, 6}, at::kLong)));
  EXPECT_TRUE(test::same_bits(labelled.targets, at::tensor({5, 9}, at::kLong)));
}

// HF: logits of all positions in fp32, shifted, cross entropy with ignore_index, sum over tokens.
TEST(LossSum, EqualsShiftedCrossEntropyAndItsGradients) {
  at::manual_seed(1);
  const std::int64_t batch = 3, length = 7, width = 8, vocabulary = 11;
  const Decoder decoder = head_only(vocabulary, width);
  const at::Tensor hidden = at::randn({batch, length, width}).requires_grad_(true);
  at::Tensor labels = at::randint(vocabulary, {batch, length}, at::kLong);
  labels.index_put_({at::rand({batch, length}) < 0.5}, -100);

  const at::Tensor ours = loss_sum(decoder, hidden, labelled_rows(labels));
  const auto our_gradients = [&] {
    ours.backward();
    const std::vector<at::Tensor> out{hidden.grad().clone(), decoder.lm_head.grad().clone()};
    hidden.mutable_grad().reset();
    decoder.lm_head.mutable_grad().reset();
    return out;
  }();
  const at::Tensor logits = decoder.logits(hidden).slice(1, 0, -1).reshape({-1, vocabulary});
  const at::Tensor theirs = at::cross_entropy_loss(
      logits, labels.slice(1, 1).reshape(-1), {}, at::Reduction::Sum, /*ignore_index=*/-100);
  theirs.backward();
  EXPECT_TRUE(close(ours, theirs, {0, 1e-6}));
  EXPECT_TRUE(close(our_gradients[0], hidden.grad(), {1e-6, 1e-5}));
  EXPECT_TRUE(close(our_gradients[1], decoder.lm_head.grad(), {1e-5, 1e-5}));
}

TEST(LossSum, WithoutLabelsIsZeroAndHasZeroGradients) {
  const Decoder decoder = head_only(11, 8);
  const at::Tensor hidden = at::randn({1, 4, 8}).requires_grad_(true);
  const LabelledRows none = labelled_rows(at::full({1, 4}, -100, at::kLong));
  EXPECT_EQ(none.count(), 0);
  const at::Tensor loss = loss_sum(decoder, hidden, none);
  EXPECT_EQ(loss.item<float>(), 0.0F);
  loss.backward();
  EXPECT_TRUE(close(hidden.grad(), at::zeros_like(hidden), {}));
}

TEST(DistilledLossSum, EqualsTorchsDivergenceBesideCrossEntropy) {
  at::manual_seed(2);
  const Decoder decoder = head_only(11, 8);
  const at::Tensor hidden = at::randn({2, 5, 8}), teacher = at::randn({6, 11}) * 2;
  at::Tensor labels = at::randint(11, {2, 5}, at::kLong);
  labels.slice(1, 1, 2).fill_(-100);
  const LabelledRows rows = labelled_rows(labels);
  ASSERT_EQ(rows.count(), 6);
  const at::Tensor logits = labelled_logits(decoder, hidden, rows);
  const at::Tensor divergence = at::kl_div(logits.log_softmax(-1),
                                           teacher.log_softmax(-1),
                                           at::Reduction::Sum,
                                           /*log_target=*/true);
  const at::Tensor plain = loss_sum(decoder, hidden, rows);
  const auto distilled = [&](double weight) {
    return distilled_loss_sum(decoder, hidden, rows, teacher, weight);
  };
  EXPECT_TRUE(close(distilled(1.0), divergence, {0, 1e-5}));
  EXPECT_TRUE(close(distilled(0.25), plain * 0.75 + divergence * 0.25, {0, 1e-5}));
}

TEST(DistilledLossSum, OfItsOwnTeacherIsZeroAndHasZeroGradients) {
  const Decoder decoder = head_only(11, 8);
  const at::Tensor hidden = at::randn({1, 4, 8}).requires_grad_(true);
  const LabelledRows rows = labelled_rows(at::tensor({1, 2, 3, 4}, at::kLong).unsqueeze(0));
  const at::Tensor own = labelled_logits(decoder, hidden, rows).detach();
  const at::Tensor loss = distilled_loss_sum(decoder, hidden, rows, own, 1.0);
  loss.backward();
  EXPECT_NEAR(loss.item<float>(), 0.0F, 1e-5F);
  EXPECT_LT(hidden.grad().abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace vmla
