#include "nn/plane_codec.h"

#include <ATen/ATen.h>

#include <vector>

#include "base/error.h"
#include "kernels/codec.h"

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

kernels::Codec kernel_codec(CacheDtype dtype) {
  switch (dtype) {
    case CacheDtype::Int8:
      return kernels::Codec::Int8;
    case CacheDtype::Fp8:
      return kernels::Codec::Fp8;
    case CacheDtype::Int4:
      return kernels::Codec::Int4;
    default:
      return kernels::Codec::None;
  }
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
  const kernels::Encoded encoded =
      kernels::encode(values.flatten(2), kernel_codec(codec.dtype), codec.group);
  return {encoded.payload, encoded.scales};
}

at::Tensor decode_plane(const StoredPlane& stored, const CachePlane& plane, at::ScalarType dtype) {
  const PlaneCodec& codec = plane.codec;
  if (codec.dtype == CacheDtype::Flag) return stored.payload;
  if (!is_quantised(codec.dtype)) return stored.payload.to(dtype);
  std::vector<std::int64_t> shape{stored.payload.size(0), stored.payload.size(1)};
  shape.insert(shape.end(), plane.shape.begin(), plane.shape.end());
  return kernels::decode({stored.payload, stored.scales},
                         kernel_codec(codec.dtype),
                         codec.group,
                         plane.elements(),
                         dtype)
      .reshape(shape);
}

kernels::Plane kernel_plane(const StoredPlane& stored, const CachePlane& plane) {
  kernels::Plane out;
  out.payload = stored.payload;
  out.scales = stored.scales;
  out.codec = kernel_codec(plane.codec.dtype);
  out.heads = plane.elements() / plane.shape.back();
  out.dim = plane.shape.back();
  out.group = plane.codec.group;
  return out;
}

}  // namespace vmla
