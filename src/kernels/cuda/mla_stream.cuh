// How a warp of mla_decode brings its part of a plane into shared memory where widths, codecs and
// slots are any: pieces of 16, 8 or 4 bytes, and quantised numbers made 16-bit ones there.
#pragma once

#include "kernels/cuda/mla_geometry.h"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/plane.cuh"

namespace vmla::kernels {

// n / divisor for n * divisor < 2^20, as n * reciprocal >> 20.
__device__ inline int reciprocal_of(int divisor) {
  return divisor <= 0 ? 0 : ((1 << 20) + divisor - 1) / divisor;
}
__device__ inline int divided(int n, int reciprocal) {
  return static_cast<int>((static_cast<unsigned>(n) * static_cast<unsigned>(reciprocal)) >> 20);
}

// As codec_bytes, which is the host's.
__device__ inline int stored_bytes(Codec codec, int numbers) {
  return codec == Codec::None ? 2 * numbers : codec == Codec::Int4 ? (numbers + 1) / 2 : numbers;
}

// A warp's part of a plane; kept in shared memory, for registers are scarce.
struct MlaStream {
  const unsigned char* payload;  // of slot 0, the part's first byte
  const __half* scales;          // of slot 0, the plane's first scale
  int token_bytes;
  int token_scales;
  std::int16_t piece, raw_pitch, tile_pitch;
  std::int16_t pieces, present;  // a token; how many of them exist in the plane
  std::int16_t units;            // of eight numbers a token
  std::int16_t first_scale, scales_kept, scales_present;
  std::int16_t group_offset;  // numbers of its group that stand before the part
  Codec codec;
  int per_pieces, per_units, per_scales, per_group;  // reciprocals
};
static_assert(sizeof(MlaStream) <= MlaGeometry::kStreamBytes, "the geometry leaves room for it");

__device__ inline void note_stream(
    MlaStream& s, const PlaneParams& plane, const MlaShare& share, int first, int numbers) {
  const int width = plane.width;
  s.codec = plane.codec;
  s.token_bytes = stored_bytes(plane.codec, width);
  s.payload = static_cast<const unsigned char*>(plane.payload) + stored_bytes(plane.codec, first);
  s.piece = share.piece;
  s.raw_pitch = share.raw_pitch;
  s.tile_pitch = share.tile_pitch;
  s.pieces = (stored_bytes(plane.codec, numbers) + share.piece - 1) / share.piece;
  s.present = min(max(s.token_bytes - stored_bytes(plane.codec, first), 0) / share.piece,
                  static_cast<int>(s.pieces));
  s.units = (numbers + 7) / 8;
  s.per_pieces = reciprocal_of(s.pieces);
  s.per_units = reciprocal_of(s.units);
  s.scales_kept = share.scales;
  s.scales = static_cast<const __half*>(plane.scales);
  s.token_scales = 0;
  s.first_scale = s.scales_present = s.group_offset = 0;
  s.per_scales = s.per_group = 0;
  if (plane.codec != Codec::None) {
    s.token_scales = (width + plane.group - 1) / plane.group;
    s.first_scale = first / plane.group;
    s.scales_present = min(max(s.token_scales - s.first_scale, 0), share.scales);
    s.group_offset = first % plane.group;
    s.per_scales = reciprocal_of(share.scales);
    // One scale for all of the part needs no division (and such a group may be long).
    s.per_group = share.scales > 1 ? reciprocal_of(plane.group) : 0;
  }
}

template <int kBytes>
__device__ void copy_pieces(
    const MlaStream& s, std::uint32_t to, const int* slots, int tokens, int lane) {
  const int pieces = s.pieces, present = s.present, reciprocal = s.per_pieces;
  const int pitch = s.raw_pitch, token_bytes = s.token_bytes;
  const unsigned char* payload = s.payload;
#pragma unroll 2
  for (int index = lane; index < MlaGeometry::kTokens * pieces; index += 32) {
    const int t = divided(index, reciprocal), piece = index - t * pieces;
    const bool there = t < tokens && piece < present;
    const unsigned char* from =
        there ? payload + static_cast<std::int64_t>(slots[t]) * token_bytes + piece * kBytes
              : payload;
    copy_async_bytes<kBytes>(to + t * pitch + piece * kBytes, from, there);
  }
}

// tokens: how many of the step's 16 exist; the others become zeros.
__device__ inline void copy_stream(
    const MlaStream& s, std::uint32_t to, const int* slots, int tokens, int lane) {
  switch (s.piece) {
    case 16:
      copy_pieces<16>(s, to, slots, tokens, lane);
      break;
    case 8:
      copy_pieces<8>(s, to, slots, tokens, lane);
      break;
    default:
      copy_pieces<4>(s, to, slots, tokens, lane);
  }
}

// Which half of its 4-byte word a scale is.
__device__ inline std::int64_t scale_index(const MlaStream& s, int slot, int scale) {
  return static_cast<std::int64_t>(slot) * s.token_scales + s.first_scale + scale;
}

// The words that hold the scales, [16][kept].
__device__ inline void copy_scales(
    const MlaStream& s, std::uint32_t to, const int* slots, int tokens, int lane) {
  const int kept = s.scales_kept;
  for (int index = lane; index < MlaGeometry::kTokens * kept; index += 32) {
    const int t = divided(index, s.per_scales), scale = index - t * kept;
    const bool there = t < tokens && scale < s.scales_present;
    const __half* from =
        there ? s.scales + (scale_index(s, slots[t], scale) & ~std::int64_t{1}) : s.scales;
    copy_async_bytes<4>(to + index * 4, from, there);
  }
}

// Stored numbers of 16 tokens -> a tile of 16-bit numbers.
template <typename T>
__device__ void unpack_stream(const MlaStream& s,
                              const void* stored,
                              T* tile,
                              const int* slots,
                              const std::uint32_t* scales,
                              int lane) {
  const Codec codec = s.codec;
  const int units = s.units, reciprocal = s.per_units, kept = s.scales_kept;
  const int raw_pitch = s.raw_pitch, tile_pitch = s.tile_pitch;
#pragma unroll 1
  for (int index = lane; index < MlaGeometry::kTokens * units; index += 32) {
    const int t = divided(index, reciprocal), unit = index - t * units;
    const int scale = min(divided(s.group_offset + unit * 8, s.per_group), kept - 1);
    const std::uint32_t word = scales[t * kept + scale];
    const int half = static_cast<int>(scale_index(s, slots[t], scale) & 1);
    const auto bits = static_cast<unsigned short>(word >> (16 * half));
    const auto* row = static_cast<const unsigned char*>(stored) + t * raw_pitch;
    uint2 words{};
    if (codec == Codec::Int4) {
      words.x = *reinterpret_cast<const std::uint32_t*>(row + unit * 4);
    } else {
      words = *reinterpret_cast<const uint2*>(row + unit * 8);
    }
    const uint4 numbers = dequantise_8<T>(codec, words, __half2float(__ushort_as_half(bits)));
    *reinterpret_cast<uint4*>(tile + t * tile_pitch + unit * 8) = numbers;
  }
}

}  // namespace vmla::kernels
