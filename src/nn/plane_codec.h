// Cache planes as they lie in memory: quantised when appended, dequantised when read.
//
// A plane of n elements a token (heads and dimensions in row-major order) is stored as
//   payload  [B, capacity, …]  one token's bytes after the other's
//   scales   [B, capacity, G]  fp16, G = ceil(n / group); absent for bf16, fp16 and fp32
// both contiguous, so token t of row b starts at (b * capacity + t) times what one token takes.
// Element i belongs to scale i / group; its value is scale * number, formed in fp32 and rounded
// once to the dtype that attention computes in. Payloads:
//   bf16, fp16, fp32  the numbers themselves, [B, capacity, …plane shape]
//   flag              bool [B, capacity, …plane shape], read as bool
//   int8              int8 [B, capacity, n], numbers -127 … 127
//   fp8               uint8 [B, capacity, n], the bits of e4m3fn, numbers -448 … 448
//   int4              uint8 [B, capacity, ceil(n / 2)], numbers -8 … 7 stored plus 8: element 2j in
//                     the low half of byte j, element 2j + 1 in its high half (0 where there is
//                     none)
// Scales are rounded to fp16 away from zero, so that no element is clipped for the rounding of its
// scale; those of int4 have the sign that makes the group's outermost element -8. A group of zeros
// has scale 0. A NaN or an infinity makes its whole group NaN.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "kernels/decode_ops.h"
#include "nn/cache_layout.h"

namespace vmla {

struct StoredPlane {
  at::Tensor payload;
  at::Tensor scales;  // undefined unless quantised
};

// Uninitialised room for `tokens` tokens a row. The plane's codec is settled.
StoredPlane empty_plane(const CachePlane& plane,
                        std::int64_t batch,
                        std::int64_t tokens,
                        at::Device device);

// values [B, S, …plane shape] in any floating dtype. A token's bytes depend on that token alone.
StoredPlane encode_plane(const at::Tensor& values, const CachePlane& plane);

// -> [B, T, …plane shape] in dtype; a view of the payload where it is stored in that dtype.
at::Tensor decode_plane(const StoredPlane& stored, const CachePlane& plane, at::ScalarType dtype);

// As the decode kernels take it. The plane is no flag.
kernels::Plane kernel_plane(const StoredPlane& stored, const CachePlane& plane);

CacheDtype cache_dtype_of(at::ScalarType dtype);

}  // namespace vmla
