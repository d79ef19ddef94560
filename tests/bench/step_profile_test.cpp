#include "bench/step_profile.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "bench/copy_bandwidth.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

const KernelTime* find(const StepProfile& profile, const std::string& name) {
  const auto it = std::find_if(profile.kernels.begin(),
                               profile.kernels.end(),
                               [&](const KernelTime& kernel) { return kernel.name == name; });
  return it == profile.kernels.end() ? nullptr : &*it;
}

TEST(StepProfile, CountsTheOperatorsOfAStep) {
  TinyShape shape;
  shape.mla = SvdMethod::Joint;
  const auto model = make_tiny_model(shape);
  const StepProfile profile = profile_steps(*model, {}, 2, 5, 4);
  EXPECT_FALSE(profile.of_device);
  EXPECT_GT(profile.step_seconds, 0);
  const KernelTime* softmax = find(profile, "aten::_softmax");
  ASSERT_NE(softmax, nullptr);
  EXPECT_EQ(softmax->calls, 2);  // one a layer
  ASSERT_NE(find(profile, "aten::argmax"), nullptr);
  EXPECT_EQ(find(profile, "aten::argmax")->calls, 1);
  EXPECT_TRUE(std::is_sorted(profile.kernels.begin(),
                             profile.kernels.end(),
                             [](const auto& a, const auto& b) { return a.seconds > b.seconds; }));
}

// Each operator's time without its callees': the sum cannot be above the whole.
TEST(StepProfile, CallersDoNotCountTheirCalleesTime) {
  const auto model = make_tiny_model({});
  const StepProfile profile = profile_steps(*model, {}, 1, 5, 8);
  for (const KernelTime& kernel : profile.kernels) EXPECT_GE(kernel.seconds, 0) << kernel.name;
  const KernelTime* linear = find(profile, "aten::linear");
  const KernelTime* product = find(profile, "aten::mm");
  if (product == nullptr) product = find(profile, "aten::addmm");
  ASSERT_NE(linear, nullptr);
  ASSERT_NE(product, nullptr);
  EXPECT_LT(linear->seconds / linear->calls, product->seconds / product->calls);
}

TEST(StepProfile, RefusesNoSteps) {
  const auto model = make_tiny_model({});
  EXPECT_THROW(profile_steps(*model, {}, 1, 5, 0), Error);
}

TEST(StepProfile, LabelsAreShort) {
  EXPECT_EQ(kernel_label("void vmla::gemv<half, 4>(half const*, int)", 40), "vmla::gemv<half, 4>");
  EXPECT_EQ(kernel_label("void f<g(int)>(int)", 40), "f<g(int)>");
  EXPECT_EQ(kernel_label("void vmla::(anonymous namespace)::f<(anonymous namespace)::T>(int)", 40),
            "vmla::f<T>");
  EXPECT_EQ(kernel_label("aten::mm", 40), "aten::mm");
  EXPECT_EQ(kernel_label("abcdefgh", 5), "abcd…");
}

TEST(CopyBandwidth, IsThatOfAMemory) {
  const double rate = copy_bandwidth(at::kCPU, 64 << 20);
  EXPECT_GT(rate, 1e8);
  EXPECT_LT(rate, 1e13);
}

}  // namespace
}  // namespace vmla::test
