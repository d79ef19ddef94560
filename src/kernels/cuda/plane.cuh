// Cache planes on the device: where a token lies, and quantised numbers back to 16 bits.
#pragma once

#include <cuda_fp8.h>

#include "kernels/cuda/vector.cuh"

namespace vmla::kernels {

__device__ inline int slot_of(const PageParams& pages, int row, int token) {
  if (pages.table == nullptr) return row * pages.capacity + token;
  const int block = pages.table[row * pages.blocks + (token >> pages.block_bits)];
  return (block << pages.block_bits) + (token & ((1 << pages.block_bits) - 1));
}

__device__ inline float scale_at(const void* scales, std::int64_t index) {
  return __half2float(static_cast<const __half*>(scales)[index]);
}

__device__ inline std::uint32_t pack_pair(__nv_bfloat16 /*type*/, float low, float high) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&two);
}
__device__ inline std::uint32_t pack_pair(__half /*type*/, float low, float high) {
  const __half2 two = __floats2half2_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&two);
}

// Of stored numbers, scale * number in fp32. A number and a power of two are put together as a
// float's bits, and one fused multiply-add takes the power (and the offset of the stored number)
// away again; every term is exact, so the result is the product rounded once.

// Four bytes of int8.
__device__ inline void dequantise_int8(std::uint32_t word, float scale, float (&out)[4]) {
  const std::uint32_t raised = word ^ 0x80808080U;  // 0 … 255
  const float offset = -32896.f * scale;            // 2^15 + 128
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t bits = __byte_perm(raised, 0x47000000U, 0x7604U | (i << 4));
    out[i] = fmaf(__uint_as_float(bits), scale, offset);
  }
}

__device__ inline void dequantise_fp8(std::uint32_t word, float scale, float (&out)[4]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const __half2_raw two =
        __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(word >> (16 * i)), __NV_E4M3);
    const float2 pair = __half22float2(__half2(two));
    out[2 * i] = pair.x * scale;
    out[2 * i + 1] = pair.y * scale;
  }
}

// Eight halves of bytes.
__device__ inline void dequantise_int4(std::uint32_t word, float scale, float (&out)[8]) {
  const float at_8 = -32776.f * scale, at_12 = -2056.f * scale, at_16 = -136.f * scale;
  const auto from_8 = [&](std::uint32_t bits) {
    return fmaf(__uint_as_float((bits & 0xF00U) | 0x47000000U), scale, at_8);
  };
  const auto from_12 = [&](std::uint32_t bits) {
    return fmaf(__uint_as_float((bits & 0xF000U) | 0x45000000U), scale, at_12);
  };
  const auto from_16 = [&](std::uint32_t bits) {
    return fmaf(__uint_as_float((bits & 0xF0000U) | 0x43000000U), scale, at_16);
  };
  out[0] = from_8(word << 8);
  out[1] = from_12(word << 8);
  out[2] = from_8(word);
  out[3] = from_12(word);
  out[4] = from_16(word);
  out[5] = from_8(word >> 12);
  out[6] = from_12(word >> 12);
  out[7] = from_16(word >> 12);
}

// Eight numbers as stored (int4: one word) -> eight 16-bit numbers.
template <typename T>
__device__ uint4 dequantise_8(Codec codec, uint2 words, float scale) {
  float values[8];
  if (codec == Codec::Int4) {
    dequantise_int4(words.x, scale, values);
  } else {
    float low[4], high[4];
    if (codec == Codec::Int8) {
      dequantise_int8(words.x, scale, low);
      dequantise_int8(words.y, scale, high);
    } else {
      dequantise_fp8(words.x, scale, low);
      dequantise_fp8(words.y, scale, high);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[i] = low[i];
      values[i + 4] = high[i];
    }
  }
  return make_uint4(pack_pair(T{}, values[0], values[1]),
                    pack_pair(T{}, values[2], values[3]),
                    pack_pair(T{}, values[4], values[5]),
                    pack_pair(T{}, values[6], values[7]));
}

}  // namespace vmla::kernels
