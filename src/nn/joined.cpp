#include "nn/joined.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace vmla {
namespace {

constexpr std::int64_t kWide = 16;

bool moves_wide(const at::Tensor& x) {
  const auto per_wide = kWide / x.element_size();
  if (x.stride(-1) != 1 || x.size(-1) % per_wide != 0 || x.storage_offset() % per_wide != 0)
    return false;
  for (std::int64_t d = 0; d + 1 < x.dim(); ++d) {
    if (x.stride(d) % per_wide != 0) return false;
  }
  return true;
}

}  // namespace

at::Tensor joined(const at::Tensor& a, const at::Tensor& b) {
  const bool records = at::GradMode::is_enabled() && (a.requires_grad() || b.requires_grad());
  if (records || a.scalar_type() != b.scalar_type() || !moves_wide(a) || !moves_wide(b))
    return at::cat({a, b}, -1);
  return at::cat({a.view(at::kComplexDouble), b.view(at::kComplexDouble)}, -1)
      .view(a.scalar_type());
}

}  // namespace vmla
