// Sums over many rows of products of two numbers of a row.
#pragma once

#include <torch/types.h>

namespace vmla {

// a [N, X], b [N, Y] -> a^T b [X, Y], as float32 gives it (double for double) whatever the scope of
// Float32Products. On a GPU tensor cores do the work, on factors split in two.
at::Tensor row_products(const at::Tensor& a, const at::Tensor& b);
at::Tensor row_squares(const at::Tensor& a);  // a^T a

// x = high + low exactly, float32; high has the 11 significant bits that TF32 keeps.
struct SplitFloats {
  at::Tensor high, low;
};
SplitFloats split_floats(const at::Tensor& x);
// From split factors; what the products of two low parts would add, 2^-22 of the whole, is left
// out.
at::Tensor row_products(const SplitFloats& a, const SplitFloats& b);
at::Tensor row_squares(const SplitFloats& a);

}  // namespace vmla
