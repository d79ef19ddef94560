#include "nn/mask.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nn/attention.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

TEST(Mask, CausalWithLeftPadding) {
  const at::Tensor keys = at::tensor({0, 0, 1, 1}, at::kInt).to(at::kBool).unsqueeze(0);
  const at::Tensor want = at::tensor({1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1}, at::kInt)
                              .to(at::kBool)
                              .view({1, 1, 4, 4});
  EXPECT_TRUE(at::equal(causal_mask(keys, 4), want)) << causal_mask(keys, 4);
  EXPECT_TRUE(at::equal(causal_mask(keys, 1), want.slice(2, 3)));
  const at::Tensor positions = positions_from_mask(keys);
  EXPECT_TRUE(at::equal(positions, at::tensor({0, 0, 0, 1}, at::kLong).unsqueeze(0)));
}

// Fully masked rows made the CPU flash backward explode in the Python original (gradient norm 1e7
// against 4.8).
TEST(Mask, PaddingRowsKeepGradientsFinite) {
  at::manual_seed(1);
  at::Tensor q = at::randn({1, 6, 2, 8}), k = at::randn({1, 6, 2, 8}), v = at::randn({1, 6, 2, 8});
  for (at::Tensor* x : {&q, &k, &v}) x->set_requires_grad(true);
  at::Tensor keys = at::ones({1, 6}, at::kBool);
  keys.slice(1, 0, 3).fill_(false);
  const at::Tensor out = expanded_attention(q, k, v, causal_mask(keys, 6), 0.35);
  out.slice(1, 3).square().sum().backward();
  for (const auto& x : {q, k, v}) {
    EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
    EXPECT_LT(x.grad().norm().item<double>(), 100.0);
    EXPECT_EQ(x.grad().slice(1, 0, 3).abs().sum().item<double>(), 0.0)
        << "padding gets no gradient";
  }
}

}  // namespace
}  // namespace vmla
