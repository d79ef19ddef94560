#include "nn/rope.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "kernels/train_ops.h"

namespace vmla {
namespace {

// Llama 3.1: long wavelengths are stretched by factor, short ones kept, those between blended.
at::Tensor llama3_frequencies(const at::Tensor& inv_freq, const RopeScaling& s) {
  const double old_length = static_cast<double>(s.original_max_position);
  const double low_wavelength = old_length / s.low_freq_factor;
  const double high_wavelength = old_length / s.high_freq_factor;
  const at::Tensor wavelength = 2 * std::numbers::pi / inv_freq;
  const at::Tensor stretched =
      at::where(wavelength > low_wavelength, inv_freq / s.factor, inv_freq);
  const at::Tensor blend =
      (old_length / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  const at::Tensor blended = (1 - blend) * stretched / s.factor + blend * stretched;
  const at::Tensor medium =
      (wavelength >= high_wavelength).logical_and(wavelength <= low_wavelength);
  return at::where(medium, blended, stretched);
}

}  // namespace

RotaryEmbedding::RotaryEmbedding(std::int64_t head_dim,
                                 double theta,
                                 std::int64_t max_position,
                                 RopeScaling scaling)
    : head_dim_(head_dim), theta_(theta), max_position_(max_position), scaling_(scaling) {
  inv_freq_ = inverse_frequencies(theta);
}

at::Tensor RotaryEmbedding::inverse_frequencies(double theta) const {
  const at::Tensor exponent = at::arange(0, head_dim_, 2, at::TensorOptions().dtype(at::kFloat)) /
                              static_cast<double>(head_dim_);
  const at::Tensor plain = 1.0 / at::pow(theta, exponent);
  if (scaling_.kind == RopeScalingKind::Linear) return plain / scaling_.factor;
  if (scaling_.kind == RopeScalingKind::Llama3) return llama3_frequencies(plain, scaling_);
  return plain;
}

std::pair<at::Tensor, at::Tensor> RotaryEmbedding::cos_sin(const at::Tensor& positions,
                                                           at::ScalarType dtype) const {
  at::Tensor inv_freq = inv_freq_;
  if (scaling_.kind == RopeScalingKind::Dynamic) {
    const double length = static_cast<double>(positions.max().item<std::int64_t>() + 1);
    const double limit = static_cast<double>(max_position_);
    if (length > limit) {
      const double d = static_cast<double>(head_dim_);
      const double grown = scaling_.factor * length / limit - (scaling_.factor - 1);
      inv_freq = inverse_frequencies(theta_ * std::pow(grown, d / (d - 2)));
    }
  }
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(-1) *
                            inv_freq.to(positions.device(), /*non_blocking=*/true);  // [B, S, D/2]
  const at::Tensor full = at::cat({angles, angles}, -1);
  return {full.cos().to(dtype), full.sin().to(dtype)};
}

at::Tensor apply_rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return kernels::rotate_pairs(x, cos, sin);
}

}  // namespace vmla
