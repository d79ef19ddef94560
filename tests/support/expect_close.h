// Tensor comparison whose failure message shows where and by how much.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include <string>

namespace vmla::test {

struct Tolerance {
  double abs = 0.0;
  double rel = 0.0;
};

// |got - want| <= abs + rel * |want| everywhere; NaN and Inf must stand at the same places; shapes
// must be equal.
::testing::AssertionResult close(const at::Tensor& got,
                                 const at::Tensor& want,
                                 Tolerance tolerance);
// Same dtype, shape and bits (NaN equals NaN).
::testing::AssertionResult same_bits(const at::Tensor& got, const at::Tensor& want);

}  // namespace vmla::test
