#include "kernels/codec.h"

#include <ATen/ATen.h>

namespace vmla::kernels {
namespace {

// The numbers that a payload can hold.
struct Range {
  double low, high;
};

Range range_of(Codec codec) {
  if (codec == Codec::Int4) return {-8.0, 7.0};
  return codec == Codec::Fp8 ? Range{-448.0, 448.0} : Range{-127.0, 127.0};
}

// [B, S, n] -> [B, S, G, group]; the last group is filled up with zeros.
at::Tensor grouped(const at::Tensor& flat, std::int64_t group) {
  const std::int64_t count = flat.size(2), groups = (count + group - 1) / group;
  const at::Tensor whole =
      groups * group == count ? flat : at::constant_pad_nd(flat, {0, groups * group - count});
  return whole.view({flat.size(0), flat.size(1), groups, group});
}

// The fp16 next to value (fp32) that is not nearer to zero.
at::Tensor half_outside(const at::Tensor& value) {
  const at::Tensor nearest = value.to(at::kHalf);
  const at::Tensor next = (nearest.view(at::kShort) + 1).view(at::kHalf);
  return at::where(nearest.to(at::kFloat).abs() < value.abs(), next, nearest);
}

// groups fp32 [B, S, G, group] -> fp16 [B, S, G].
at::Tensor scales_of(const at::Tensor& groups, Codec codec) {
  if (codec != Codec::Int4) {
    // A divisor on the device: by a number of the host CUDA multiplies by its reciprocal instead.
    const at::Tensor high = at::full({1}, range_of(codec).high, groups.options());
    return half_outside(groups.abs().amax(-1) / high);
  }
  // The outermost element becomes -8, whatever its sign: the side that reaches further has the
  // extra number.
  const at::Tensor high = groups.amax(-1), low = groups.amin(-1);
  const at::Tensor outermost = at::where(high >= -low, high, low);
  return half_outside(outermost / -8.0 + 0.0);  // no -0
}

// numbers int32 [B, S, n] in -8 … 7 -> uint8 [B, S, ceil(n / 2)].
at::Tensor pack_halves(const at::Tensor& numbers) {
  const std::int64_t count = numbers.size(2);
  const at::Tensor raised = numbers + 8;
  const at::Tensor pairs = (count % 2 == 0 ? raised : at::constant_pad_nd(raised, {0, 1}))
                               .view({numbers.size(0), numbers.size(1), (count + 1) / 2, 2});
  return (pairs.select(3, 0) + 16 * pairs.select(3, 1)).to(at::kByte);
}

// uint8 [B, T, ceil(n / 2)] -> fp32 [B, T, n].
at::Tensor unpack_halves(const at::Tensor& bytes, std::int64_t count) {
  return at::stack({bytes.bitwise_and(15), bytes.bitwise_right_shift(4)}, -1)
             .flatten(2)
             .narrow(2, 0, count)
             .to(at::kFloat) -
         8.0;
}

}  // namespace

Encoded encode(const at::Tensor& values, Codec codec, std::int64_t group) {
  const Range range = range_of(codec);
  const at::Tensor groups = grouped(values.to(at::kFloat).contiguous(), group);
  const at::Tensor scales = scales_of(groups, codec);
  const at::Tensor divisor = scales.to(at::kFloat).masked_fill(scales == 0, 1.0).unsqueeze(-1);
  const at::Tensor numbers = (groups / divisor)
                                 .nan_to_num(0.0)  // its scale says that the group is NaN
                                 .clamp(range.low, range.high)
                                 .flatten(2)
                                 .narrow(2, 0, values.size(2));
  switch (codec) {
    case Codec::Fp8:
      return {numbers.to(at::kFloat8_e4m3fn).view(at::kByte), scales};
    case Codec::Int8:
      return {numbers.round().to(at::kChar), scales};
    default:
      return {pack_halves(numbers.round().to(at::kInt)), scales};
  }
}

at::Tensor decode(const Encoded& stored,
                  Codec codec,
                  std::int64_t group,
                  std::int64_t count,
                  at::ScalarType dtype) {
  at::Tensor numbers;
  switch (codec) {
    case Codec::Fp8:
      numbers = stored.payload.view(at::kFloat8_e4m3fn).to(at::kFloat);
      break;
    case Codec::Int8:
      numbers = stored.payload.to(at::kFloat);
      break;
    default:
      numbers = unpack_halves(stored.payload, count);
  }
  return (grouped(numbers, group) * stored.scales.to(at::kFloat).unsqueeze(-1))
      .flatten(2)
      .narrow(2, 0, count)
      .to(dtype);
}

}  // namespace vmla::kernels
