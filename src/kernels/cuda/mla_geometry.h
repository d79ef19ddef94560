// How mla_decode lays a shape out on a block: plain arithmetic, so that it can be asked and tested
// without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/params.h"

namespace vmla::kernels {

struct MlaProblem {
  int heads, kv_heads, rope_dim, latent_dim;
  Codec rope_codec = Codec::None, latent_codec = Codec::None;
  bool paged = false;
  bool narrow = false;  // few blocks: rather twice as many of half the heads
  bool brief = false;   // few tokens a block: shared memory is left to L1, which later kernels need
};

// A warp's part of 16 tokens of a plane in shared memory.
struct MlaShare {
  int numbers = 0;     // a token
  int piece = 0;       // bytes of one asynchronous copy: 16, 8 or 4; 0: the bytes allow none
  int raw_pitch = 0;   // bytes from one token, as stored, to the next
  int raw_bytes = 0;   // of a stage
  int tile_pitch = 0;  // 16-bit numbers from one token to the next
  int tile_bytes = 0;  // 0 where the stored bytes are the tile
  int scales = 0;      // a token, at most
};

struct MlaGeometry {
  static constexpr int kTokens = 16;       // of one step
  static constexpr int kScorePitch = 16;   // floats a row of scores, whose halves are swizzled
  static constexpr int kWeightPitch = 24;  // numbers a row of weights, likewise for ldmatrix
  static constexpr int kStreamBytes = 80;  // what a warp notes of a plane

  const char* why = nullptr;  // it cannot be done
  bool exact = false;         // plain planes of whole shares, in rows: fixed loops
  bool shared = false;        // one rotary key for all heads: on tensor cores, like the latent
  bool packed = false;        // a plane is quantised
  bool overlapped = false;    // the next tile is scored while this one is weighted
  int warps = 0, tiles = 0;   // tiles of 16 heads a block
  int columns = 0;            // of the latent, a warp
  int kv_heads_per_warp = 0;  // rotary keys that a warp copies, unless shared
  int stages = 0;             // of the copy pipeline
  int rope_stages = 0;        // of the rotary keys, which only the scores need
  MlaShare latent, rope;
  int q_pitch = 0;  // 16-bit numbers a row of the rotary queries
  // Where parts of the shared memory begin, in bytes.
  int streams_at = 0, slots_at = 0, scales_at = 0, raw_at = 0, rope_at = 0, tiles_at = 0;
  std::int64_t shared_bytes = 0;
};

constexpr int round_up(int value, int step) {
  return (value + step - 1) / step * step;
}

constexpr int codec_bytes(Codec codec, int numbers) {
  return codec == Codec::None ? 2 * numbers : codec == Codec::Int4 ? (numbers + 1) / 2 : numbers;
}

// width: of the plane's tokens; step: a warp's first number is a multiple of it; group: numbers
// that share a scale in int8 and fp8.
inline MlaShare mla_share(Codec codec, int width, int step, int numbers, int group) {
  MlaShare s;
  s.numbers = numbers;
  for (const int piece : {16, 8, 4}) {
    if (s.piece == 0 && codec_bytes(codec, width) % piece == 0 &&
        codec_bytes(codec, step) % piece == 0)
      s.piece = piece;
  }
  const int pitch = numbers + 8;  // 16 bytes of padding: ldmatrix without bank conflicts
  s.tile_pitch = pitch;
  if (codec == Codec::None) {
    s.raw_pitch = 2 * pitch;
  } else {
    s.raw_pitch = round_up(codec_bytes(codec, numbers), 16);
    s.tile_bytes = MlaGeometry::kTokens * 2 * pitch;
    s.scales = codec == Codec::Int4 ? (numbers + 24 + 31) / 32 : (numbers + group - 1) / group;
  }
  s.raw_bytes = MlaGeometry::kTokens * s.raw_pitch;
  return s;
}

// Fills in what follows from warps, tiles and columns; false where it does not fit.
inline bool mla_lay_out(MlaGeometry& g, const MlaProblem& p, std::int64_t shared_limit) {
  const int rows = g.tiles * 16, rows_per_warp = rows / g.warps, group = p.heads / p.kv_heads;
  g.latent = mla_share(p.latent_codec, p.latent_dim, g.columns, g.columns, p.latent_dim);
  g.q_pitch = round_up(p.rope_dim, 16) + 8;
  if (g.shared) {
    const int numbers = round_up((p.rope_dim + g.warps - 1) / g.warps, 16);
    g.rope = mla_share(p.rope_codec, p.rope_dim, numbers, numbers, p.rope_dim);
    g.q_pitch = g.warps * numbers + 8;
  } else {
    g.kv_heads_per_warp = std::min(p.kv_heads,
                                   group == 1                   ? rows_per_warp
                                   : group % rows_per_warp == 0 ? 1
                                                                : (rows_per_warp - 1) / group + 2);
    g.rope = mla_share(p.rope_codec,
                       p.kv_heads * p.rope_dim,
                       p.rope_dim,
                       g.kv_heads_per_warp * p.rope_dim,
                       p.rope_dim);
  }
  if (g.latent.piece == 0 || g.rope.piece == 0) {
    g.why = "expected planes whose tokens take a multiple of 4 bytes";
    return false;
  }
  for (g.stages = p.brief ? 2 : 3; g.stages >= 2; --g.stages) {
    // Overlapped, scores and weights have two buffers, and a tile outlives its rotary keys.
    g.overlapped = g.exact && g.stages == 3;
    g.rope_stages = g.overlapped ? 2 : g.stages;
    const int each = g.warps * g.stages;
    g.streams_at =
        (g.overlapped ? 2 : 1) * (4 * (g.warps * rows * MlaGeometry::kScorePitch + rows) +
                                  2 * rows * MlaGeometry::kWeightPitch) +
        2 * rows * g.q_pitch;
    g.slots_at = g.streams_at + (g.exact ? 0 : 2 * g.warps * MlaGeometry::kStreamBytes);
    g.scales_at = g.slots_at + (g.exact ? 0 : each * MlaGeometry::kTokens * 4);
    g.raw_at = g.scales_at + each * MlaGeometry::kTokens * 4 * (g.latent.scales + g.rope.scales);
    g.rope_at = g.raw_at + each * g.latent.raw_bytes;
    g.tiles_at = g.rope_at + g.warps * g.rope_stages * g.rope.raw_bytes;
    g.shared_bytes = g.tiles_at + g.warps * (g.latent.tile_bytes + g.rope.tile_bytes);
    if (g.shared_bytes <= shared_limit) return true;
  }
  g.why = "its tiles do not fit the shared memory";
  return false;
}

// shared_limit: bytes that a block may have (227 KiB on sm_90, 163 KiB on sm_80).
inline MlaGeometry mla_geometry(const MlaProblem& p, std::int64_t shared_limit) {
  MlaGeometry g;
  g.shared = p.kv_heads == 1;
  g.packed = p.rope_codec != Codec::None || p.latent_codec != Codec::None;
  if (!g.shared && (p.rope_dim % 8 != 0 || p.rope_dim < 8 || p.rope_dim > 128)) {
    g.why = "expected a rope_dim of 8 to 128 in steps of 8";
    return g;
  }
  if (g.shared && (p.rope_dim % 2 != 0 || p.rope_dim < 2 || p.rope_dim > 2048)) {
    g.why = "expected an even rope_dim of 2 to 2048";
    return g;
  }
  if (p.latent_dim % 4 != 0 || p.latent_dim < 4 || p.latent_dim > 2048) {
    g.why = "expected a latent_dim of 4 to 2048 in steps of 4";
    return g;
  }
  struct Shape {
    int warps, tiles, columns;
  };
  // Two tiles of heads read each latent half as often, where registers and memory allow.
  constexpr Shape kExact[] = {{4, 2, 16},
                              {4, 1, 16},
                              {4, 2, 32},
                              {4, 1, 32},
                              {4, 2, 64},
                              {4, 1, 64},
                              {8, 2, 64},
                              {8, 1, 64},
                              {8, 2, 96},
                              {8, 1, 96},
                              {8, 2, 128},
                              {8, 1, 128},
                              {8, 1, 192},
                              {8, 1, 256}};
  constexpr Shape kAny[] = {{4, 2, 32},
                            {4, 2, 64},
                            {8, 2, 64},
                            {8, 2, 96},
                            {8, 2, 128},
                            {8, 1, 128},
                            {8, 1, 192},
                            {8, 1, 256}};
  const auto try_shape = [&](const Shape& shape) {
    g.warps = shape.warps;
    g.tiles = shape.tiles;
    g.columns = shape.columns;
    g.why = nullptr;
    return mla_lay_out(g, p, shared_limit);
  };
  g.exact = true;
  for (const Shape& shape : kExact) {
    if (g.shared || g.packed || p.paged || p.latent_dim != shape.warps * shape.columns) continue;
    if (shape.tiles == 2 && (p.heads <= 16 || p.narrow)) continue;
    if (try_shape(shape)) return g;
  }
  g.exact = false;
  const char* why = nullptr;
  for (const Shape& shape : kAny) {
    if (p.latent_dim > shape.warps * shape.columns) continue;
    if (shape.tiles == 2 && shape.columns == 128 && (p.heads <= 16 || p.narrow)) continue;
    if (try_shape(shape)) return g;
    if (why == nullptr) why = g.why;
  }
  g.why = why;
  return g;
}

}  // namespace vmla::kernels
