// Concatenation of heads' parts, as fast as memory allows.
#pragma once

#include <torch/types.h>

namespace vmla {

// at::cat({a, b}, -1), moved by 16 bytes where widths and strides allow and nobody wants gradients:
// libtorch's kernel for parts that are not contiguous moves number by number. a, b […, X | Y] of
// one dtype -> […, X + Y].
at::Tensor joined(const at::Tensor& a, const at::Tensor& b);

}  // namespace vmla
