#include "nn/plane_codec.h"

#include <ATen/ATen.h>

#include <vector>

#include "base/error.h"

namespace vmla {
namespace {

at::ScalarType payload_type(CacheDtype dtype) {
  switch (dtype) {
    case CacheDtype::BFloat16:
      return at::kBFloat16;
    case CacheDtype::Float16:
      return at::kHalf;
    case CacheDtype::Float32:
      return at::kFloat;
    case CacheDtype::Int8:
      return at::kChar;
    case CacheDtype::Fp8:
    case CacheDtype::Int4:
      return at::kByte;
    case CacheDtype::Flag:
      return at::kBool;
    case CacheDtype::Auto:
      break;
  }
  fail(ErrorKind::Internal, "cache plane: expected a resolved dtype, got auto");
}

// The numbers that a payload can hold.
struct Range {
  double low, high;
};

Range range_of(CacheDtype dtype) {
  if (dtype == CacheDtype::Int4) return {-8.0, 7.0};
  return dtype == CacheDtype::Fp8 ? Range{-448.0, 448.0} : Range{-127.0, 127.0};
}

// [B, S, n] -> [B, S, G, group]; the last group is filled up with zeros.
at::Tensor grouped(const at::Tensor& flat, const PlaneCodec& codec) {
  const std::int64_t count = flat.size(2), groups = codec.scales(count);
  const at::Tensor whole = groups * codec.group == count
                               ? flat
                               : at::constant_pad_nd(flat, {0, groups * codec.group - count});
  return whole.view({flat.size(0), flat.size(1), groups, codec.group});
}

// The fp16 next to value (fp32) that is not nearer to zero.
at::Tensor half_outside(const at::Tensor& value) {
  const at::Tensor nearest = value.to(at::kHalf);
  const at::Tensor next = (nearest.view(at::kShort) + 1).view(at::kHalf);
  return at::where(nearest.to(at::kFloat).abs() < value.abs(), next, nearest);
}

// groups fp32 [B, S, G, group] -> fp16 [B, S, G].
at::Tensor scales_of(const at::Tensor& groups, CacheDtype dtype) {
  if (dtype != CacheDtype::Int4) return half_outside(groups.abs().amax(-1) / range_of(dtype).high);
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

CacheDtype cache_dtype_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return CacheDtype::BFloat16;
    case at::kHalf:
      return CacheDtype::Float16;
    case at::kFloat:
      return CacheDtype::Float32;
    default:
      fail(ErrorKind::Unsupported,
           "cache: expected a model in bfloat16, float16 or float32, got {}",
           c10::toString(dtype));
  }
}

StoredPlane empty_plane(const CachePlane& plane,
                        std::int64_t batch,
                        std::int64_t tokens,
                        at::Device device) {
  const auto options = at::TensorOptions().device(device);
  const at::ScalarType type = payload_type(plane.codec.dtype);
  std::vector<std::int64_t> shape{batch, tokens};
  if (!is_quantised(plane.codec.dtype)) {
    shape.insert(shape.end(), plane.shape.begin(), plane.shape.end());
    return {at::empty(shape, options.dtype(type)), {}};
  }
  shape.push_back(plane.codec.payload_bytes(plane.elements()));
  return {
      at::empty(shape, options.dtype(type)),
      at::empty({batch, tokens, plane.codec.scales(plane.elements())}, options.dtype(at::kHalf))};
}

StoredPlane encode_plane(const at::Tensor& values, const CachePlane& plane) {
  const PlaneCodec& codec = plane.codec;
  if (!is_quantised(codec.dtype)) return {values.to(payload_type(codec.dtype)), {}};
  const Range range = range_of(codec.dtype);
  const at::Tensor groups = grouped(values.flatten(2).to(at::kFloat), codec);
  const at::Tensor scales = scales_of(groups, codec.dtype);
  const at::Tensor divisor = scales.to(at::kFloat).masked_fill(scales == 0, 1.0).unsqueeze(-1);
  const at::Tensor numbers = (groups / divisor)
                                 .nan_to_num(0.0)  // its scale says that the group is NaN
                                 .clamp(range.low, range.high)
                                 .flatten(2)
                                 .narrow(2, 0, plane.elements());
  switch (codec.dtype) {
    case CacheDtype::Fp8:
      return {numbers.to(at::kFloat8_e4m3fn).view(at::kByte), scales};
    case CacheDtype::Int8:
      return {numbers.round().to(at::kChar), scales};
    default:
      return {pack_halves(numbers.round().to(at::kInt)), scales};
  }
}

at::Tensor decode_plane(const StoredPlane& stored, const CachePlane& plane, at::ScalarType dtype) {
  const PlaneCodec& codec = plane.codec;
  if (codec.dtype == CacheDtype::Flag) return stored.payload;
  if (!is_quantised(codec.dtype)) return stored.payload.to(dtype);
  const std::int64_t count = plane.elements();
  at::Tensor numbers;
  switch (codec.dtype) {
    case CacheDtype::Fp8:
      numbers = stored.payload.view(at::kFloat8_e4m3fn).to(at::kFloat);
      break;
    case CacheDtype::Int8:
      numbers = stored.payload.to(at::kFloat);
      break;
    default:
      numbers = unpack_halves(stored.payload, count);
  }
  std::vector<std::int64_t> shape{numbers.size(0), numbers.size(1)};
  shape.insert(shape.end(), plane.shape.begin(), plane.shape.end());
  return (grouped(numbers, codec) * stored.scales.to(at::kFloat).unsqueeze(-1))
      .flatten(2)
      .narrow(2, 0, count)
      .to(dtype)
      .reshape(shape);
}

}  // namespace vmla
