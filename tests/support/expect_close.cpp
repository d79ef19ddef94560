#include "support/expect_close.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace vmla::test {
namespace {

std::string shape_text(const at::Tensor& t) {
  std::string text = "[";
  for (std::int64_t i = 0; i < t.dim(); ++i) text += (i ? ", " : "") + std::to_string(t.size(i));
  return text + "]";
}

}  // namespace

::testing::AssertionResult close(const at::Tensor& got,
                                 const at::Tensor& want,
                                 Tolerance tolerance) {
  if (got.sizes() != want.sizes()) {
    return ::testing::AssertionFailure()
           << "shape: expected " << shape_text(want) << ", got " << shape_text(got);
  }
  if (want.numel() == 0) return ::testing::AssertionSuccess();
  const at::Tensor a = got.detach().to(at::kCPU, at::kDouble).reshape(-1);
  const at::Tensor b = want.detach().to(at::kCPU, at::kDouble).reshape(-1);
  const at::Tensor special_a = at::isnan(a), special_b = at::isnan(b);
  if (!at::equal(special_a, special_b))
    return ::testing::AssertionFailure() << "NaN at different places";
  const at::Tensor equal = special_b.logical_or(a == b);
  const at::Tensor error = at::where(equal, 0.0, (a - b).abs());
  // 0 * inf is NaN: equal infinities must not reach the formula.
  const at::Tensor excess = at::where(
      equal, 0.0, at::nan_to_num(error - tolerance.abs - tolerance.rel * b.abs(), 1e300, 1e300));
  const auto worst = excess.argmax().item<std::int64_t>();
  if (excess[worst].item<double>() <= 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << fmt::format(
             "at flat index {} of {}: expected {:.9g}, got {:.9g} (error {:.3g}, allowed {:.3g} + "
             "{:.3g} relative; {} of "
             "{} values are off; largest error {:.3g})",
             worst,
             shape_text(want),
             b[worst].item<double>(),
             a[worst].item<double>(),
             error[worst].item<double>(),
             tolerance.abs,
             tolerance.rel,
             (excess > 0).sum().item<std::int64_t>(),
             want.numel(),
             error.max().item<double>());
}

::testing::AssertionResult same_bits(const at::Tensor& got, const at::Tensor& want) {
  if (got.scalar_type() != want.scalar_type())
    return ::testing::AssertionFailure() << "different dtypes";
  return close(got, want, {0, 0});
}

}  // namespace vmla::test
