#include "convert/row_products.h"

#include <ATen/ATen.h>

#include "convert/float32_products.h"

namespace vmla {
namespace {

constexpr std::int64_t kDropped = 13;  // of float32's 23 bits behind the point, by TF32

bool takes_split(const at::Tensor& x) {
  return x.is_cuda() && x.scalar_type() == at::kFloat;
}

}  // namespace

SplitFloats split_floats(const at::Tensor& x) {
  constexpr std::int32_t kMask = -(std::int32_t{1} << kDropped);
  const at::Tensor high = x.contiguous().view(at::kInt).bitwise_and(kMask).view(at::kFloat);
  return {high, x - high};
}

at::Tensor row_products(const SplitFloats& a, const SplitFloats& b) {
  const Float32Products fast(/*tf32=*/true);
  return a.high.t().mm(b.low).add_(a.low.t().mm(b.high)).add_(a.high.t().mm(b.high));
}

at::Tensor row_squares(const SplitFloats& a) {
  const Float32Products fast(/*tf32=*/true);
  const at::Tensor mixed = a.high.t().mm(a.low);
  return (mixed + mixed.t()).add_(a.high.t().mm(a.high));
}

at::Tensor row_products(const at::Tensor& a, const at::Tensor& b) {
  if (takes_split(a) && takes_split(b)) return row_products(split_floats(a), split_floats(b));
  const Float32Products exact(/*tf32=*/false);
  return a.t().mm(b);
}

at::Tensor row_squares(const at::Tensor& a) {
  if (takes_split(a)) return row_squares(split_floats(a));
  const Float32Products exact(/*tf32=*/false);
  return a.t().mm(a);
}

}  // namespace vmla
