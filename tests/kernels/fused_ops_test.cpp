// Fused kernels against their references; on a machine without CUDA only the reference half runs.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/api.h"
#include "kernels/device.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

TEST(FusedOps, ReferenceIsTheFormula) {
  const at::Tensor x = at::tensor({3.0F, 4.0F}).view({1, 2}), weight = at::tensor({1.0F, 2.0F});
  const float scale = 1.0F / std::sqrt(12.5F + 1e-6F);
  EXPECT_TRUE(test::close(kernels::rms_norm(x, weight, 1e-6),
                          at::tensor({3 * scale, 8 * scale}).view({1, 2}),
                          {1e-6, 0}));
  const at::Tensor got = kernels::silu_mul(at::tensor({1.0F}), at::tensor({2.0F}));
  EXPECT_NEAR(got.item<float>(), 2.0 / (1.0 + std::exp(-1.0)), 1e-6);
}

TEST(FusedOps, SaysWhyItIsUnsupported) {
  const at::Tensor x = at::ones({2, 4});
  ASSERT_TRUE(kernels::why_unsupported(x).has_value());
  try {
    kernels::rms_norm(x, at::ones({4}), 1e-6, kernels::Backend::Cuda);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    EXPECT_EQ(std::string(e.what()), "rms_norm: " + *kernels::why_unsupported(x));
  }
  EXPECT_THROW(kernels::rms_norm(x, at::ones({5}), 1e-6), Error);
}

TEST(FusedOps, CudaEqualsReference) {
  if (!kernels::built_with_cuda() || !at::globalContext().hasCUDA())
    GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  for (const auto& [dtype, allowed] :
       {std::pair{at::kFloat, 2e-6}, {at::kHalf, 2e-3}, {at::kBFloat16, 1.6e-2}}) {
    for (const auto& [rows, width] : {std::pair{1, 1}, {3, 64}, {7, 4096}, {129, 5120}, {2, 333}}) {
      const auto options = at::TensorOptions().device(at::kCUDA).dtype(dtype);
      const at::Tensor x = at::randn({rows, width}, options), y = at::randn({rows, width}, options);
      const at::Tensor weight = at::rand({width}, options) + 0.5;
      const at::Tensor normed = kernels::rms_norm(x, weight, 1e-5, kernels::Backend::Cuda);
      EXPECT_TRUE(
          test::close(normed, kernels::reference::rms_norm(x, weight, 1e-5), {allowed, allowed}))
          << rows << "x" << width;
      EXPECT_FALSE(test::close(
          normed * 1.05, kernels::reference::rms_norm(x, weight, 1e-5), {allowed, allowed}))
          << "planted";
      EXPECT_TRUE(test::close(kernels::silu_mul(x, y, kernels::Backend::Cuda),
                              kernels::reference::silu_mul(x, y),
                              {allowed, allowed}));
    }
  }
}

}  // namespace
}  // namespace vmla
