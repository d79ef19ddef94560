// What a training step computes, forwards and backwards; on a machine without CUDA only the
// references are held against autograd.
#include "kernels/train_ops.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "kernels/device.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

at::Tensor leaf(const at::Tensor& x) {
  return x.detach().clone().requires_grad_(true);
}

bool has_cuda() {
  return kernels::built_with_cuda() && at::globalContext().hasCUDA();
}

TEST(TrainOps, GradientsAreAutograds) {
  at::manual_seed(1);
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor x = leaf(at::randn({2, 3, 4, 16}, options)),
                   cos = at::randn({1, 3, 1, 16}, options), sin = at::randn({1, 3, 1, 16}, options),
                   gradient = at::randn({2, 3, 4, 16}, options);
  kernels::rotate_pairs(x, cos, sin).backward(gradient);
  EXPECT_TRUE(
      test::close(kernels::rotate_pairs_backward(gradient, cos, sin), x.grad(), {1e-12, 1e-12}));
  EXPECT_FALSE(
      test::close(kernels::rotate_pairs_backward(gradient, cos, -sin), x.grad(), {1e-2, 1e-2}));

  const at::Tensor gate = leaf(at::randn({5, 7}, options)), up = leaf(at::randn({5, 7}, options)),
                   above = at::randn({5, 7}, options);
  kernels::trained_silu_mul(gate, up).backward(above);
  const auto [to_gate, to_up] = kernels::silu_mul_backward(above, gate, up);
  EXPECT_TRUE(test::close(to_gate, gate.grad(), {1e-12, 1e-12}));
  EXPECT_TRUE(test::close(to_up, up.grad(), {1e-12, 1e-12}));
}

TEST(TrainOps, RotationIsTheFormula) {
  const at::Tensor x = at::tensor({3.0F, 4.0F}).view({1, 1, 1, 2}),
                   cos = at::tensor({0.5F, 0.25F}).view({1, 1, 1, 2}),
                   sin = at::tensor({2.0F, 8.0F}).view({1, 1, 1, 2});
  EXPECT_TRUE(test::same_bits(kernels::rotate_pairs(x, cos, sin),
                              at::tensor({3 * 0.5F - 4 * 2.0F, 4 * 0.25F + 3 * 8.0F}).view_as(x)));
}

// Angles for all heads or for each, for all rows or for each; x packed or a slice of wider rows.
TEST(TrainOps, CudaRotationEqualsReference) {
  if (!has_cuda()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(2);
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    const auto options = at::TensorOptions().device(at::kCUDA).dtype(dtype);
    for (const auto& [rows, heads, dim] :
         {std::tuple{1, 1, 128}, {3, 1, 32}, {1, 6, 16}, {3, 6, 96}}) {
      const at::Tensor wide = at::randn({3, 5, 6 * dim + 24}, options);
      const at::Tensor cos = at::randn({rows, 5, heads, dim}, options),
                       sin = at::randn({rows, 5, heads, dim}, options),
                       gradient = at::randn({3, 5, 6, dim}, options);
      for (const std::int64_t offset : {0, 8}) {
        const at::Tensor x = leaf(wide.narrow(-1, offset, 6 * dim).view({3, 5, 6, dim}));
        const at::Tensor view = wide.narrow(-1, offset, 6 * dim).view({3, 5, 6, dim});
        const at::Tensor want = kernels::reference::rotate_pairs(view, cos, sin);
        EXPECT_TRUE(
            test::same_bits(kernels::rotate_pairs(view, cos, sin, kernels::Backend::Cuda), want));
        EXPECT_FALSE(test::same_bits(
            kernels::rotate_pairs(view, cos, sin * 1.01, kernels::Backend::Cuda), want));
        kernels::rotate_pairs(x, cos, sin, kernels::Backend::Cuda).backward(gradient);
        EXPECT_TRUE(test::same_bits(x.grad(),
                                    kernels::reference::rotate_pairs_backward(gradient, cos, sin)));
      }
    }
  }
}

TEST(TrainOps, CudaSiluProductEqualsReference) {
  if (!has_cuda()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(3);
  for (const auto& [dtype, allowed] : {std::pair{at::kBFloat16, 1.6e-2}, {at::kHalf, 2e-3}}) {
    const auto options = at::TensorOptions().device(at::kCUDA).dtype(dtype);
    const at::Tensor gate = leaf(at::randn({3, 7, 264}, options)),
                     up = leaf(at::randn({3, 7, 264}, options)),
                     gradient = at::randn({3, 7, 264}, options);
    kernels::trained_silu_mul(gate, up).backward(gradient);
    const auto [to_gate, to_up] = kernels::reference::silu_mul_backward(gradient, gate, up);
    EXPECT_TRUE(test::close(gate.grad(), to_gate, {allowed, allowed}));
    EXPECT_TRUE(test::close(up.grad(), to_up, {allowed, allowed}));
    EXPECT_FALSE(test::close(up.grad() * 1.1, to_up, {allowed, allowed})) << "planted";
  }
}

TEST(TrainOps, CudaNormsGradientEqualsReference) {
  if (!has_cuda()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(4);
  const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kFloat);
  const at::Tensor x = leaf(at::randn({33, 4096}, options)),
                   weight = leaf(at::rand({4096}, options)),
                   gradient = at::randn({33, 4096}, options);
  const at::Tensor x_2 = leaf(x), weight_2 = leaf(weight);
  const at::Tensor got = kernels::trained_rms_norm(x, weight, 1e-5),
                   want = kernels::reference::rms_norm(x_2, weight_2, 1e-5);
  EXPECT_TRUE(test::close(got, want, {1e-5, 1e-5}));
  got.backward(gradient);
  want.backward(gradient);
  EXPECT_TRUE(test::close(x.grad(), x_2.grad(), {1e-4, 1e-4}));
  EXPECT_TRUE(test::close(weight.grad(), weight_2.grad(), {1e-4, 1e-4}));
}

}  // namespace
}  // namespace vmla
