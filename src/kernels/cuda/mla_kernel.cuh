// Multi-head latent attention of one query token, split over the tokens: all heads of a block share
// each latent that is read. docs/kernels/mla_decode.md explains the plan and its limits.
//
// A block takes kTiles * 16 heads and walks over its tokens 16 at a time. Warp w owns kColumns of
// the latent's columns and, of the rotary keys, those of its heads or (kShared) its part of the one
// for all heads; it copies only those, so that the copies need no block-wide barrier. Per step:
//   1. partial scores over the warp's columns and of its rotary keys, on tensor cores, to shared
//      memory;
//   2. each warp finishes the rows of its heads: sum over warps, online softmax;
//   3. out[heads, the warp's columns] += P . latent, on tensor cores, from the same tile.
// Between 1 and 2 and between 2 and 3 all warps meet. Where three tiles fit the shared memory, step
// s's second phase goes together with the first of step s + 1, and they meet once a step.
#pragma once

#include <type_traits>

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/mla_geometry.h"
#include "kernels/cuda/mla_stream.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vector.cuh"

namespace vmla::kernels {

// kStages 0: any width, pages and any number of stages; else plain planes of whole shares in rows.
// Three stages of those are overlapped.
// kPacked: planes may be quantised.
template <typename T, int kWarps, int kTiles, int kColumns, int kStages, bool kShared, bool kPacked>
__global__ void __launch_bounds__(kWarps * 32, 1)
    mla_decode_kernel(const MlaDecodeParams p, const MlaGeometry g) {
  constexpr bool kAny = kStages == 0, kOverlapped = kStages == 3;
  constexpr float kLog2E = 1.4426950408889634f;
  constexpr int kTokens = MlaGeometry::kTokens, kScorePitch = MlaGeometry::kScorePitch,
                kWeightPitch = MlaGeometry::kWeightPitch;
  constexpr int kRows = kTiles * 16, kRowsPerWarp = kRows / kWarps;
  constexpr int kLatentPitch = kColumns + 8;
  let_next_start();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int split = blockIdx.x, b = blockIdx.z, head_0 = blockIdx.y * kRows;
  const int group = p.heads / p.kv_heads, rope = p.rope_dim;
  const int stages = kAny ? g.stages : kStages;
  const int rope_stages = kAny ? g.stages : 2;

  extern __shared__ __align__(16) unsigned char memory[];
  // Each once, or twice where steps overlap.
  constexpr int kBuffers = kOverlapped ? 2 : 1, kScores = kWarps * kRows * kScorePitch;
  auto* all_scores = reinterpret_cast<float*>(memory);                       // [warps][rows][pitch]
  auto* all_rescale = all_scores + kBuffers * kScores;                       // [rows]
  auto* all_weights = reinterpret_cast<T*>(all_rescale + kBuffers * kRows);  // [rows][pitch]
  T* q_rope = all_weights + kBuffers * kRows * kWeightPitch;                 // [rows][pitch]
  const auto buffer_of = [](int step) { return kOverlapped ? step % 2 : 0; };
  const auto tile_of = [&](int step) {  // [stages][warps]
    return memory + g.raw_at + (step % stages * kWarps + warp) * g.latent.raw_bytes;
  };
  const auto rope_tile_of = [&](int step) {  // [rope stages][warps]
    return memory + g.rope_at + (step % rope_stages * kWarps + warp) * g.rope.raw_bytes;
  };
  const int kv_0 = min((head_0 + warp * kRowsPerWarp) / group, p.kv_heads - 1);
  const int kv_count = min(g.kv_heads_per_warp, p.kv_heads - kv_0);
  // The shared rotary key: this warp's first number, and its steps of 16.
  const int rope_0 = warp * g.rope.numbers;
  const int rope_steps = kShared ? (min(max(rope - rope_0, 0), g.rope.numbers) + 15) / 16 : 0;

  [[maybe_unused]] MlaStream* streams =
      reinterpret_cast<MlaStream*>(memory + g.streams_at) + warp * 2;
  if constexpr (kAny) {
    if (lane == 0) {
      note_stream(streams[0], p.latent, g.latent, warp * kColumns, kColumns);
      note_stream(streams[1],
                  p.k_rope,
                  g.rope,
                  kShared ? rope_0 : kv_0 * rope,
                  kShared ? rope_steps * 16 : kv_count * rope);
    }
    __syncwarp();
  }
  wait_for_previous();

  // The queries' share of the warp's columns, as the A operand of every step. Plain rows come in
  // whole words, asked for before anything that has to wait for the cache.
  std::uint32_t q[kTiles][kColumns / 16][4];
  const T* q_rows = static_cast<const T*>(p.q_latent) +
                    static_cast<std::int64_t>(b) * p.heads * p.latent_dim + warp * kColumns;
  constexpr int kChunks = kColumns / 8;
  [[maybe_unused]] uint4 q_words[kTiles][kColumns / 16];
  if constexpr (!kAny) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int i = 0; i < kColumns / 16; ++i) {
        const int index = lane + i * 32, head = head_0 + m * 16 + index / kChunks;
        q_words[m][i] = head < p.heads
                            ? load_fresh(q_rows + static_cast<std::int64_t>(head) * p.latent_dim +
                                         index % kChunks * 8)
                            : make_uint4(0, 0, 0, 0);
      }
    }
  }

  const int begin = p.split.first[b], end = *p.split.count;
  int share = (end - begin + p.split.splits - 1) / p.split.splits;
  share = (share + kTokens - 1) / kTokens * kTokens;
  const int from = begin + split * share, to = min(from + share, end);
  const int steps = to > from ? (to - from + kTokens - 1) / kTokens : 0;

  // Slots of the 16 tokens of a step, one a lane, looked up a step ahead.
  [[maybe_unused]] int next_slot = 0;
  if constexpr (kAny) {
    if (steps > 0) next_slot = slot_of(p.pages, b, min(from + lane % 16, to - 1));
  }
  const std::int64_t row_0 = static_cast<std::int64_t>(b) * p.pages.capacity;
  [[maybe_unused]] const T* latent =
      static_cast<const T*>(p.latent.payload) + row_0 * p.latent_dim + warp * kColumns;
  [[maybe_unused]] const int per_chunks = reciprocal_of(kv_count * rope / 8);
  [[maybe_unused]] const T* k_rope =
      static_cast<const T*>(p.k_rope.payload) + (row_0 * p.kv_heads + kv_0) * rope;

  const auto load_tile = [&](int step) {
    if (step < steps) {
      const int token_0 = from + step * kTokens;
      if constexpr (kAny) {
        const int place = step % stages * kWarps + warp;
        int* slots = reinterpret_cast<int*>(memory + g.slots_at) + place * kTokens;
        if (lane < kTokens) slots[lane] = next_slot;
        __syncwarp();
        const int tokens = min(kTokens, to - token_0);
        copy_stream(streams[0], shared_address(tile_of(step)), slots, tokens, lane);
        copy_stream(streams[1], shared_address(rope_tile_of(step)), slots, tokens, lane);
        if constexpr (kPacked) {
          const std::uint32_t scales = shared_address(memory + g.scales_at) +
                                       place * kTokens * 4 * (g.latent.scales + g.rope.scales);
          copy_scales(streams[0], scales, slots, tokens, lane);
          copy_scales(streams[1], scales + kTokens * 4 * g.latent.scales, slots, tokens, lane);
        }
        if (step + 1 < steps)
          next_slot = slot_of(p.pages, b, min(token_0 + kTokens + lane % 16, to - 1));
      } else {
        T* tile = reinterpret_cast<T*>(tile_of(step));
        const T* row = latent + static_cast<std::int64_t>(token_0) * p.latent_dim;
#pragma unroll
        for (int i = 0; i < kTokens * kChunks / 32; ++i) {
          const int index = lane + i * 32, t = index / kChunks, chunk = index % kChunks;
          const bool present = token_0 + t < to;
          copy_async(shared_address(tile + t * kLatentPitch + chunk * 8),
                     row + (present ? t * p.latent_dim : 0) + chunk * 8,
                     present);
        }
        T* rope_tile = reinterpret_cast<T*>(rope_tile_of(step));
        const int chunks = kv_count * rope / 8, row_size = p.kv_heads * rope;
        const T* key_row = k_rope + static_cast<std::int64_t>(token_0) * row_size;
#pragma unroll 2
        for (int index = lane; index < kTokens * chunks; index += 32) {
          const int t = divided(index, per_chunks), chunk = index - t * chunks;
          const bool present = token_0 + t < to;
          copy_async(shared_address(rope_tile + t * g.rope.tile_pitch + chunk * 8),
                     key_row + (present ? t * row_size : 0) + chunk * 8,
                     present);
        }
      }
    }
    copy_commit();
  };
  for (int stage = 0; stage < stages - 1; ++stage) load_tile(stage);

  const T* q_rope_rows = static_cast<const T*>(p.q_rope) + b * p.q_rope_stride;
  if constexpr (kShared) {
    for (int row = warp; row < kRows; row += kWarps) {
      const int head = head_0 + row;
      for (int d = lane; d < g.q_pitch; d += 32)
        q_rope[row * g.q_pitch + d] =
            head < p.heads && d < rope ? q_rope_rows[head * rope + d] : from_float<T>(0.f);
    }
  } else {
    const int chunks = g.q_pitch / 8, per_row = reciprocal_of(chunks);
    for (int index = lane; index < kRowsPerWarp * chunks; index += 32) {
      const int row = warp * kRowsPerWarp + divided(index, per_row), head = head_0 + row;
      const int d = (index - divided(index, per_row) * chunks) * 8;
      *reinterpret_cast<uint4*>(q_rope + row * g.q_pitch + d) =
          head < p.heads && d < rope ? load_fresh(q_rope_rows + head * rope + d)
                                     : make_uint4(0, 0, 0, 0);
    }
  }
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
    if constexpr (kAny) {
#pragma unroll
      for (int k = 0; k < kColumns / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int head = head_0 + m * 16 + lane / 4 + (i % 2) * 8;
          const int column = k * 16 + (lane % 4) * 2 + (i / 2) * 8;
          const bool present = head < p.heads && warp * kColumns + column < p.latent_dim;
          q[m][k][i] = present
                           ? *reinterpret_cast<const std::uint32_t*>(
                                 q_rows + static_cast<std::int64_t>(head) * p.latent_dim + column)
                           : 0;
        }
      }
    } else {
      T* spare = reinterpret_cast<T*>(tile_of(stages - 1));  // nothing is on its way there yet
#pragma unroll
      for (int i = 0; i < kColumns / 16; ++i) {
        const int index = lane + i * 32;
        *reinterpret_cast<uint4*>(spare + index / kChunks * kLatentPitch + index % kChunks * 8) =
            q_words[m][i];
      }
      __syncwarp();
      const std::uint32_t row = shared_address(
          spare + (lane % 8 + ((lane / 8) % 2) * 8) * kLatentPitch + (lane / 16) * 8);
#pragma unroll
      for (int k = 0; k < kColumns / 16; ++k) load_matrices(q[m][k], row + k * 32);
      __syncwarp();
    }
  }
  // The keys of each of the warp's heads against its own queries alone: the other rows of A are
  // zero. All of these heads are in one half of one tile of rows.
  [[maybe_unused]] constexpr int kHalf = 8;
  [[maybe_unused]] const int half_0 = warp * kRowsPerWarp / kHalf * kHalf;
  [[maybe_unused]] const auto score_own = [&](const T* rope_tile, float(&own)[2][4]) {
    const int my_row = half_0 + lane / 4, upper = half_0 % 16 / kHalf;
    const int my_kv =
        my_row / kRowsPerWarp == warp ? min((head_0 + my_row) / group, p.kv_heads - 1) - kv_0 : -1;
    const T* query = q_rope + my_row * g.q_pitch + (lane % 4) * 2;
    const std::uint32_t keys_at = shared_address(
        rope_tile + ((lane / 16) * 8 + lane % 8) * g.rope.tile_pitch + ((lane / 8) % 2) * 8);
    for (int d = 0; d < rope; d += 16) {
      const std::uint32_t low = *reinterpret_cast<const std::uint32_t*>(query + d),
                          high = *reinterpret_cast<const std::uint32_t*>(query + d + 8);
      const bool whole = d + 16 <= rope;
#pragma unroll 4
      for (int kv = 0; kv < kv_count; ++kv) {
        std::uint32_t keys[4];
        load_matrices(keys, keys_at + (kv * rope + d) * 2);
        if (!whole) keys[1] = keys[3] = 0;  // another head's, or nothing
        const std::uint32_t a = my_kv == kv ? low : 0, c = my_kv == kv ? high : 0;
        const std::uint32_t rows[4] = {
            upper == 0 ? a : 0, upper == 0 ? 0 : a, upper == 0 ? c : 0, upper == 0 ? 0 : c};
        mma<T>(own[0], rows, keys[0], keys[1]);
        mma<T>(own[1], rows, keys[2], keys[3]);
      }
    }
  };
  using Partial = float[kTiles][2][4];
  const auto score_columns = [&](const T* tile, const float(&own)[2][4], Partial& partial) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          partial[m][n][i] = !kShared && m == half_0 / 16 ? own[n][i] : 0.f;
      }
    }
    const std::uint32_t row =
        shared_address(tile + ((lane / 16) * 8 + lane % 8) * kLatentPitch + ((lane / 8) % 2) * 8);
#pragma unroll
    for (int k = 0; k < kColumns / 16; ++k) {
      std::uint32_t keys[4];
      load_matrices(keys, row + k * 32);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        mma<T>(partial[m][0], q[m][k], keys[0], keys[1]);
        mma<T>(partial[m][1], q[m][k], keys[2], keys[3]);
      }
    }
  };
  [[maybe_unused]] const auto score_shared = [&](const T* rope_tile, Partial& partial) {
    std::uint32_t row = shared_address(
        rope_tile + ((lane / 16) * 8 + lane % 8) * g.rope.tile_pitch + ((lane / 8) % 2) * 8);
    std::uint32_t query = shared_address(q_rope + (lane % 8 + ((lane / 8) % 2) * 8) * g.q_pitch +
                                         rope_0 + (lane / 16) * 8);
    for (int k = 0; k < rope_steps; ++k) {
      std::uint32_t keys[4];
      load_matrices(keys, row);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        std::uint32_t queries[4];
        load_matrices(queries, query + m * 32 * g.q_pitch);
        mma<T>(partial[m][0], queries, keys[0], keys[1]);
        mma<T>(partial[m][1], queries, keys[2], keys[3]);
      }
      row += 32;
      query += 32;
    }
  };
  // Rows two apart have the halves of their 16 tokens swapped, which spreads them over the banks.
  const auto swizzled = [](int row, int token) { return token ^ (row / 2 % 2 * 8); };
  const auto store_scores = [&](int step, const Partial& partial) {
    float* scores = all_scores + buffer_of(step) * kScores;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        float* at = scores + (warp * kRows + m * 16 + lane / 4) * kScorePitch +
                    swizzled(lane / 4, n * 8 + (lane % 4) * 2);
        *reinterpret_cast<float2*>(at) = make_float2(partial[m][n][0], partial[m][n][1]);
        *reinterpret_cast<float2*>(at + 8 * kScorePitch) =
            make_float2(partial[m][n][2], partial[m][n][3]);
      }
    }
  };

  // Of the warp's rows, two at a time: a lane has one token of one of them.
  constexpr int kPairs = kRowsPerWarp / 2;
  float maximum[kPairs], sum[kPairs];
#pragma unroll
  for (int r = 0; r < kPairs; ++r) {
    maximum[r] = -INFINITY;
    sum[r] = 0.f;
  }
  struct Weighted {
    T weight[kPairs];
    float scale[kPairs];  // of what was summed up before
  };
  const auto weigh = [&](int step, Weighted& to_keep) {
    const float* scores = all_scores + buffer_of(step) * kScores;
    const int t = lane % 16;
    const bool visible = from + step * kTokens + t < to;
#pragma unroll
    for (int r = 0; r < kPairs; ++r) {
      const int row = warp * kRowsPerWarp + r * 2 + lane / 16;
      float score = 0.f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w)
        score += scores[(w * kRows + row) * kScorePitch + swizzled(row, t)];
      score = visible ? score * p.split.scale * kLog2E : -INFINITY;
      // At least one token of a step is visible, so the new maximum is finite.
      const float highest = fmaxf(maximum[r], lane_max<16>(score));
      const float weight = exp2f(score - highest);
      to_keep.scale[r] = exp2f(maximum[r] - highest);
      to_keep.weight[r] = from_float<T>(weight);
      sum[r] = sum[r] * to_keep.scale[r] + lane_sum<16>(to_float(to_keep.weight[r]));
      maximum[r] = highest;
    }
  };
  const auto store_weights = [&](int step, const Weighted& kept) {
    T* weights = all_weights + buffer_of(step) * kRows * kWeightPitch;
    float* rescale = all_rescale + buffer_of(step) * kRows;
#pragma unroll
    for (int r = 0; r < kPairs; ++r) {
      const int row = warp * kRowsPerWarp + r * 2 + lane / 16;
      weights[row * kWeightPitch + lane % 16] = kept.weight[r];
      if (lane % 16 == 0) rescale[row] = kept.scale[r];
    }
  };

  float out[kTiles][kColumns / 8][4] = {};
  const auto mix = [&](int step, const T* tile) {
    const T* weights = all_weights + buffer_of(step) * kRows * kWeightPitch;
    const float* rescale = all_rescale + buffer_of(step) * kRows;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      const float low = rescale[m * 16 + lane / 4], high = rescale[m * 16 + lane / 4 + 8];
      if (__any_sync(0xffffffffU, low != 1.f || high != 1.f)) {
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
          out[m][n][0] *= low;
          out[m][n][1] *= low;
          out[m][n][2] *= high;
          out[m][n][3] *= high;
        }
      }
    }
    std::uint32_t p_rows[kTiles][4];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      load_matrices(
          p_rows[m],
          shared_address(weights + (m * 16 + lane % 8 + ((lane / 8) % 2) * 8) * kWeightPitch +
                         (lane / 16) * 8));
    }
    const std::uint32_t row =
        shared_address(tile + (lane % 8 + ((lane / 8) % 2) * 8) * kLatentPitch + (lane / 16) * 8);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      std::uint32_t values[4];
      load_matrices_transposed(values, row + n * 32);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        mma<T>(out[m][2 * n], p_rows[m], values[0], values[1]);
        mma<T>(out[m][2 * n + 1], p_rows[m], values[2], values[3]);
      }
    }
    __syncwarp();  // the tile may be overwritten by the next copy only now
  };

  if constexpr (kOverlapped) {
    const auto latent_tile = [&](int step) { return reinterpret_cast<const T*>(tile_of(step)); };
    const auto rope_tile = [&](int step) { return reinterpret_cast<const T*>(rope_tile_of(step)); };
    __syncwarp();  // the queries of the warp's heads
    if (steps > 0) {
      copy_wait<1>();
      __syncwarp();
      float own[2][4] = {};
      Partial partial;
      score_own(rope_tile(0), own);
      score_columns(latent_tile(0), own, partial);
      store_scores(0, partial);
      __syncwarp();
    }
    load_tile(2);
    __syncthreads();
    // Tile step + 1 is scored, tile step weighted and added, tile step + 2 on its way.
    const auto iterate = [&](int step, auto more) {
      constexpr bool kMore = decltype(more)::value;
      Weighted kept;
      [[maybe_unused]] float own[2][4] = {};
      [[maybe_unused]] Partial partial;
      if constexpr (kMore) {
        copy_wait<1>();
        __syncwarp();
        score_own(rope_tile(step + 1), own);
      }
      weigh(step, kept);
      if constexpr (kMore) {
        score_columns(latent_tile(step + 1), own, partial);
        store_scores(step + 1, partial);
      }
      store_weights(step, kept);
      __syncthreads();
      mix(step, latent_tile(step));
      if constexpr (kMore) load_tile(step + 3);
    };
    for (int step = 0; step < steps - 1; ++step) iterate(step, std::true_type{});
    if (steps > 0) iterate(steps - 1, std::false_type{});
  } else {
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
      if constexpr (kAny) {
        if (stages == 3) {
          copy_wait<1>();
        } else {
          copy_wait<0>();
        }
      } else {
        copy_wait<kStages - 2>();
      }
      __syncwarp();
      load_tile(step + stages - 1);
      const T* tile = reinterpret_cast<const T*>(tile_of(step));
      const T* rope_tile = reinterpret_cast<const T*>(rope_tile_of(step));
      if constexpr (kPacked) {
        unsigned char* tiles =
            memory + g.tiles_at + warp * (g.latent.tile_bytes + g.rope.tile_bytes);
        const int place = step % stages * kWarps + warp;
        const auto* slots = reinterpret_cast<const int*>(memory + g.slots_at) + place * kTokens;
        const auto* scales = reinterpret_cast<const std::uint32_t*>(memory + g.scales_at) +
                             place * kTokens * (g.latent.scales + g.rope.scales);
        if (g.latent.tile_bytes > 0) {
          T* to_tile = reinterpret_cast<T*>(tiles);
          unpack_stream(streams[0], tile, to_tile, slots, scales, lane);
          tile = to_tile;
        }
        if (g.rope.tile_bytes > 0) {
          T* to_tile = reinterpret_cast<T*>(tiles + g.latent.tile_bytes);
          unpack_stream(
              streams[1], rope_tile, to_tile, slots, scales + kTokens * g.latent.scales, lane);
          rope_tile = to_tile;
        }
        __syncwarp();
      }
      float own[2][4] = {};
      Partial partial;
      if constexpr (!kShared) score_own(rope_tile, own);
      score_columns(tile, own, partial);
      if constexpr (kShared) score_shared(rope_tile, partial);
      store_scores(step, partial);
      __syncthreads();
      Weighted kept;
      weigh(step, kept);
      store_weights(step, kept);
      __syncthreads();
      mix(step, tile);
    }
  }

  const std::int64_t base = (static_cast<std::int64_t>(b) * p.split.splits + split) * p.heads;
#pragma unroll
  for (int r = 0; r < kPairs; ++r) {
    const int head = head_0 + warp * kRowsPerWarp + r * 2 + lane / 16;
    if (lane % 16 == 0 && head < p.heads) {
      p.split.maximum[base + head] = maximum[r];
      p.split.sum[base + head] = sum[r];
    }
  }
  if (steps == 0) return;  // the merge skips a split whose sum is 0
  // Each row divided by its sum and rounded. All warps are past their last scores, so the place of
  // the rotary queries is free; and the warp's tiles are, through which plain rows become words.
  auto* inverse = reinterpret_cast<float*>(q_rope);  // [rows]
#pragma unroll
  for (int r = 0; r < kPairs; ++r) {
    if (lane % 16 == 0) inverse[warp * kRowsPerWarp + r * 2 + lane / 16] = 1.f / sum[r];
  }
  __syncthreads();
  T* rows = reinterpret_cast<T*>(p.split.partial) + base * p.latent_dim + warp * kColumns;
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
    [[maybe_unused]] T* spare = reinterpret_cast<T*>(tile_of(0));
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + half * 8, head = head_0 + m * 16 + row;
      const float by = inverse[m * 16 + row];
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
        const int column = n * 8 + (lane % 4) * 2;
        const std::uint32_t two =
            pack_pair(T{}, out[m][n][half * 2] * by, out[m][n][half * 2 + 1] * by);
        if constexpr (!kAny) {
          *reinterpret_cast<std::uint32_t*>(spare + row * kLatentPitch + column) = two;
        } else if (head < p.heads && warp * kColumns + column < p.latent_dim) {
          *reinterpret_cast<std::uint32_t*>(rows + static_cast<std::int64_t>(head) * p.latent_dim +
                                            column) = two;
        }
      }
    }
    if constexpr (!kAny) {
      __syncwarp();
#pragma unroll
      for (int i = 0; i < kColumns / 16; ++i) {
        const int index = lane + i * 32, row = index / kChunks, head = head_0 + m * 16 + row;
        if (head < p.heads)
          *reinterpret_cast<uint4*>(rows + static_cast<std::int64_t>(head) * p.latent_dim +
                                    index % kChunks * 8) =
              *reinterpret_cast<const uint4*>(spare + row * kLatentPitch + index % kChunks * 8);
      }
      __syncwarp();
    }
  }
}

template <typename T,
          int kWarps,
          int kTiles,
          int kColumns,
          int kStages,
          bool kShared = false,
          bool kPacked = false>
const char* launch_mla_kernel(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream) {
  const auto kernel = mla_decode_kernel<T, kWarps, kTiles, kColumns, kStages, kShared, kPacked>;
  cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(g.shared_bytes));
  const dim3 grid(static_cast<unsigned>(p.split.splits),
                  static_cast<unsigned>((p.heads + kTiles * 16 - 1) / (kTiles * 16)),
                  static_cast<unsigned>(p.batch));
  launch_dependent(
      kernel, grid, kWarps * 32, static_cast<std::size_t>(g.shared_bytes), stream, p, g);
  return last_error();
}

inline int shape_key(const MlaGeometry& g) {
  return g.warps * 10000 + g.tiles * 1000 + g.columns;
}

// Any width, with or without pages; each pair of flags in a source file of its own.
const char* launch_mla_heads(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream);
const char* launch_mla_heads_packed(const MlaDecodeParams& p,
                                    const MlaGeometry& g,
                                    cudaStream_t stream);
const char* launch_mla_shared(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream);
const char* launch_mla_shared_packed(const MlaDecodeParams& p,
                                     const MlaGeometry& g,
                                     cudaStream_t stream);

template <typename T, bool kShared, bool kPacked>
const char* launch_mla_any(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream) {
  switch (shape_key(g)) {
    case 42032:
      return launch_mla_kernel<T, 4, 2, 32, 0, kShared, kPacked>(p, g, stream);
    case 42064:
      return launch_mla_kernel<T, 4, 2, 64, 0, kShared, kPacked>(p, g, stream);
    case 82064:
      return launch_mla_kernel<T, 8, 2, 64, 0, kShared, kPacked>(p, g, stream);
    case 82096:
      return launch_mla_kernel<T, 8, 2, 96, 0, kShared, kPacked>(p, g, stream);
    case 82128:
      return launch_mla_kernel<T, 8, 2, 128, 0, kShared, kPacked>(p, g, stream);
    case 81128:
      return launch_mla_kernel<T, 8, 1, 128, 0, kShared, kPacked>(p, g, stream);
    case 81192:
      return launch_mla_kernel<T, 8, 1, 192, 0, kShared, kPacked>(p, g, stream);
    case 81256:
      return launch_mla_kernel<T, 8, 1, 256, 0, kShared, kPacked>(p, g, stream);
    default:
      return "mla_decode has no kernel for this shape";
  }
}

}  // namespace vmla::kernels
