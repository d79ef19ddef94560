#include "nn/joined.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_close.h"

namespace vmla::test {
namespace {

TEST(Joined, IsConcatenationWhateverWidthsAndStrides) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    const at::Tensor x = at::randn({2, 3, 6, 24}).to(dtype);
    for (const at::Tensor& a : {x,
                                x.narrow(2, 1, 3),
                                x.narrow(-1, 4, 16),
                                x.narrow(-1, 8, 16),
                                x.narrow(-1, 2, 5),
                                x.slice(-1, 0, 24, 2),
                                x.transpose(0, 2)}) {
      for (const std::int64_t width : {8, 12, 5}) {
        const at::Tensor wider = at::randn({a.size(0), a.size(1), a.size(2), width + 8}).to(dtype);
        for (const at::Tensor& b : {wider.narrow(-1, 8, width), wider.slice(-1, 0, width).clone()})
          EXPECT_TRUE(same_bits(joined(a, b), at::cat({a, b}, -1))) << a.strides() << " " << width;
      }
    }
  }
}

TEST(Joined, PassesGradientsOn) {
  const at::Tensor a = at::randn({2, 8}).requires_grad_(true), b = at::randn({2, 4});
  joined(a, b).sum().backward();
  EXPECT_TRUE(same_bits(a.grad(), at::ones({2, 8})));
}

}  // namespace
}  // namespace vmla::test
