// How mla_decode lays a shape out on a block: plain arithmetic, so that it can be asked and tested
// without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmla::kernels {

struct MlaGeometry {
  static constexpr int kTokens = 16;       // of one step
  static constexpr int kScorePitch = 24;   // floats a row of scores: conflict-free for mma's layout
  static constexpr int kWeightPitch = 24;  // numbers a row of weights, likewise for ldmatrix

  const char* why = nullptr;  // it cannot be done
  int warps = 0, tiles = 0;   // tiles of 16 heads a block
  int columns = 0;            // of the latent, a warp
  int kv_heads_per_warp = 0;  // rotary keys that a warp copies
  int stages = 0;             // of the copy pipeline
  std::int64_t shared_bytes = 0;
};

// shared_limit: bytes that a block may have (227 KiB on sm_90, 163 KiB on sm_80).
inline MlaGeometry mla_geometry(
    int heads, int kv_heads, int rope_dim, int latent_dim, std::int64_t shared_limit) {
  MlaGeometry g;
  if (rope_dim % 8 != 0 || rope_dim < 8 || rope_dim > 128) {
    g.why = "expected a rope_dim of 8 to 128 in steps of 8";
    return g;
  }
  constexpr int kFew[] = {16, 32, 64}, kMany[] = {64, 96, 128, 192, 256};
  for (const int columns : kFew) {
    if (g.columns == 0 && latent_dim == 4 * columns) {
      g.warps = 4;
      g.columns = columns;
    }
  }
  for (const int columns : kMany) {
    if (g.columns == 0 && latent_dim == 8 * columns) {
      g.warps = 8;
      g.columns = columns;
    }
  }
  if (g.columns == 0) {
    g.why = "expected a latent_dim of 64, 128, 256, 512, 768, 1024, 1536 or 2048";
    return g;
  }
  const int group = heads / kv_heads;
  // Two tiles of heads read each latent half as often, where registers and memory allow.
  for (int tiles = heads > 16 && g.columns <= 128 ? 2 : 1; tiles >= 1; --tiles) {
    const int rows = tiles * 16, rows_per_warp = rows / g.warps;
    const int kv = std::min(kv_heads,
                            group == 1                   ? rows_per_warp
                            : group % rows_per_warp == 0 ? 1
                                                         : (rows_per_warp - 1) / group + 2);
    const std::int64_t tile = 2LL * MlaGeometry::kTokens * (g.columns + 8 + kv * rope_dim + 8);
    const std::int64_t fixed =
        4LL * (g.warps * rows * MlaGeometry::kScorePitch + rows * rope_dim + rows) +
        2LL * rows * MlaGeometry::kWeightPitch;
    for (int stages = 3; stages >= 2; --stages) {
      const std::int64_t bytes = fixed + tile * g.warps * stages;
      if (bytes > shared_limit) continue;
      g.tiles = tiles;
      g.kv_heads_per_warp = kv;
      g.stages = stages;
      g.shared_bytes = bytes;
      return g;
    }
  }
  g.why = "its tiles do not fit the shared memory";
  return g;
}

}  // namespace vmla::kernels
