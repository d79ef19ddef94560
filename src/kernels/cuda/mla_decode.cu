// Multi-head latent attention of one query token, split over the tokens: all heads of a block share
// each latent that is read. docs/kernels/mla_decode.md explains the plan and its limits.
//
// A block takes kTiles * 16 heads and walks over its tokens 16 at a time. Warp w owns kColumns of
// the latent's columns and heads_per_warp heads' rotary keys, and copies only those, so that the
// copies need no block-wide barrier. Per step:
//   1. partial scores q_latent . latent over the warp's columns, on tensor cores, to shared memory;
//   2. each warp finishes the rows of its heads: sum over warps, rotary part, online softmax;
//   3. out[heads, the warp's columns] += P . latent, on tensor cores, from the same tile.
#include "kernels/cuda/mla_geometry.h"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr float kLog2E = 1.4426950408889634f;
constexpr int kTokens = MlaGeometry::kTokens;
constexpr int kScorePitch = MlaGeometry::kScorePitch;
constexpr int kWeightPitch = MlaGeometry::kWeightPitch;

template <typename T, int kWarps, int kTiles, int kColumns, int kStages>
__global__ void __launch_bounds__(kWarps * 32, 1)
    mla_decode_kernel(const MlaDecodeParams p, const MlaGeometry geometry) {
  constexpr int kRows = kTiles * 16, kRowsPerWarp = kRows / kWarps;
  constexpr int kLatentPitch = kColumns + 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int split = blockIdx.x, b = blockIdx.z, head_0 = blockIdx.y * kRows;
  const int group = p.heads / p.kv_heads, rope = p.rope_dim;

  extern __shared__ __align__(16) unsigned char memory[];
  auto* scores = reinterpret_cast<float*>(memory);        // [warps][rows][pitch]
  auto* q_rope = scores + kWarps * kRows * kScorePitch;   // [rows][rope]
  auto* rescale = q_rope + kRows * rope;                  // [rows]
  auto* weights = reinterpret_cast<T*>(rescale + kRows);  // [rows][pitch]
  T* tiles = weights + kRows * kWeightPitch;              // [stages][warps][tile]
  const int rope_pitch = geometry.kv_heads_per_warp * rope + 8;
  const int tile_size = kTokens * (kLatentPitch + rope_pitch);

  const int begin = p.split.first[b], end = *p.split.count;
  int share = (end - begin + p.split.splits - 1) / p.split.splits;
  share = (share + kTokens - 1) / kTokens * kTokens;
  const int from = begin + split * share, to = min(from + share, end);
  const int steps = to > from ? (to - from + kTokens - 1) / kTokens : 0;

  const T* latent = static_cast<const T*>(p.latent) + b * p.latent_stride + warp * kColumns;
  const int kv_0 = min((head_0 + warp * kRowsPerWarp) / group, p.kv_heads - 1);
  const int kv_count = min(geometry.kv_heads_per_warp, p.kv_heads - kv_0);
  const T* k_rope = static_cast<const T*>(p.k_rope) + b * p.k_rope_stride + kv_0 * rope;

  const auto load_tile = [&](int step) {
    if (step < steps) {
      T* tile = tiles + ((step % kStages) * kWarps + warp) * tile_size;
      const int token_0 = from + step * kTokens;
      constexpr int kChunks = kColumns / 8;
#pragma unroll
      for (int i = 0; i < kTokens * kChunks / 32; ++i) {
        const int index = lane + i * 32, t = index / kChunks, chunk = index % kChunks;
        const bool present = token_0 + t < to;
        const T* source =
            latent + static_cast<std::int64_t>(present ? token_0 + t : from) * p.latent_dim;
        copy_async(
            shared_address(tile + t * kLatentPitch + chunk * 8), source + chunk * 8, present);
      }
      T* rope_tile = tile + kTokens * kLatentPitch;
      const int chunks = kv_count * rope / 8;
      for (int index = lane; index < kTokens * chunks; index += 32) {
        const int t = index / chunks, chunk = index % chunks;
        const bool present = token_0 + t < to;
        const T* source =
            k_rope + static_cast<std::int64_t>(present ? token_0 + t : from) * p.kv_heads * rope;
        copy_async(
            shared_address(rope_tile + t * rope_pitch + chunk * 8), source + chunk * 8, present);
      }
    }
    copy_commit();
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) load_tile(stage);

  for (int i = threadIdx.x; i < kRows * rope; i += kWarps * 32) {
    const int head = head_0 + i / rope;
    q_rope[i] = head < p.heads ? to_float(static_cast<const T*>(
                                     p.q_rope)[b * p.q_rope_stride + head * rope + i % rope])
                               : 0.f;
  }
  // The queries' share of these columns, as the A operand of every step.
  std::uint32_t q[kTiles][kColumns / 16][4];
  {
    const T* rows = static_cast<const T*>(p.q_latent) +
                    static_cast<std::int64_t>(b) * p.heads * p.latent_dim + warp * kColumns;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int k = 0; k < kColumns / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int head = head_0 + m * 16 + lane / 4 + (i % 2) * 8;
          const int column = k * 16 + (lane % 4) * 2 + (i / 2) * 8;
          q[m][k][i] = head < p.heads
                           ? *reinterpret_cast<const std::uint32_t*>(
                                 rows + static_cast<std::int64_t>(head) * p.latent_dim + column)
                           : 0;
        }
      }
    }
  }
  float out[kTiles][kColumns / 8][4] = {};
  float maximum[kRowsPerWarp / 2], sum[kRowsPerWarp / 2];
#pragma unroll
  for (int r = 0; r < kRowsPerWarp / 2; ++r) {
    maximum[r] = -INFINITY;
    sum[r] = 0.f;
  }
  __syncthreads();

  for (int step = 0; step < steps; ++step) {
    copy_wait<kStages - 2>();
    __syncwarp();
    load_tile(step + kStages - 1);
    const T* tile = tiles + ((step % kStages) * kWarps + warp) * tile_size;

    float partial[kTiles][2][4] = {};
    {
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
    }
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        float* at =
            scores + (warp * kRows + m * 16 + lane / 4) * kScorePitch + n * 8 + (lane % 4) * 2;
        *reinterpret_cast<float2*>(at) = make_float2(partial[m][n][0], partial[m][n][1]);
        *reinterpret_cast<float2*>(at + 8 * kScorePitch) =
            make_float2(partial[m][n][2], partial[m][n][3]);
      }
    }
    __syncthreads();

    const int t = lane % 16;
    const bool visible = from + step * kTokens + t < to;
#pragma unroll
    for (int r = 0; r < kRowsPerWarp / 2; ++r) {
      const int row = warp * kRowsPerWarp + r * 2 + lane / 16;
      float score = 0.f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) score += scores[(w * kRows + row) * kScorePitch + t];
      const int kv = min((head_0 + row) / group, p.kv_heads - 1) - kv_0;
      const T* key = tile + kTokens * kLatentPitch + t * rope_pitch + kv * rope;
      for (int d = 0; d < rope; d += 8) {
        float values[8];
        unpack<T>(*reinterpret_cast<const uint4*>(key + d), values);
#pragma unroll
        for (int j = 0; j < 8; ++j) score = fmaf(values[j], q_rope[row * rope + d + j], score);
      }
      score = visible ? score * p.split.scale * kLog2E : -INFINITY;
      // At least one token of a step is visible, so the new maximum is finite.
      const float highest = fmaxf(maximum[r], lane_max<16>(score));
      const float weight = exp2f(score - highest), scale = exp2f(maximum[r] - highest);
      const T rounded = from_float<T>(weight);
      sum[r] = sum[r] * scale + lane_sum<16>(to_float(rounded));
      maximum[r] = highest;
      weights[row * kWeightPitch + t] = rounded;
      if (t == 0) rescale[row] = scale;
    }
    __syncthreads();

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
  }

  const std::int64_t base = (static_cast<std::int64_t>(b) * p.split.splits + split) * p.heads;
#pragma unroll
  for (int r = 0; r < kRowsPerWarp / 2; ++r) {
    const int head = head_0 + warp * kRowsPerWarp + r * 2 + lane / 16;
    if (lane % 16 == 0 && head < p.heads) {
      p.split.maximum[base + head] = maximum[r];
      p.split.sum[base + head] = sum[r];
    }
  }
  if (steps == 0) return;  // the merge skips a split whose sum is 0
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int head = head_0 + m * 16 + lane / 4 + half * 8;
        if (head < p.heads) {
          float* to_row = p.split.partial + (base + head) * p.latent_dim + warp * kColumns;
          *reinterpret_cast<float2*>(to_row + n * 8 + (lane % 4) * 2) =
              make_float2(out[m][n][half * 2], out[m][n][half * 2 + 1]);
        }
      }
    }
  }
}

template <typename T, int kWarps, int kTiles, int kColumns, int kStages>
const char* launch_stages(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream) {
  const auto kernel = mla_decode_kernel<T, kWarps, kTiles, kColumns, kStages>;
  cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(g.shared_bytes));
  const dim3 grid(static_cast<unsigned>(p.split.splits),
                  static_cast<unsigned>((p.heads + kTiles * 16 - 1) / (kTiles * 16)),
                  static_cast<unsigned>(p.batch));
  kernel<<<grid, kWarps * 32, static_cast<std::size_t>(g.shared_bytes), stream>>>(p, g);
  return last_error();
}

template <typename T, int kWarps, int kTiles, int kColumns>
const char* launch_columns(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream) {
  return g.stages == 3 ? launch_stages<T, kWarps, kTiles, kColumns, 3>(p, g, stream)
                       : launch_stages<T, kWarps, kTiles, kColumns, 2>(p, g, stream);
}

std::int64_t shared_limit() {
  int device = 0, bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return bytes;
}

template <typename T>
const char* launch_typed(const MlaDecodeParams& p, cudaStream_t stream) {
  const MlaGeometry g = mla_geometry(p.heads, p.kv_heads, p.rope_dim, p.latent_dim, shared_limit());
  if (g.why != nullptr) return g.why;
  const int shape = g.warps * 10000 + g.tiles * 1000 + g.columns;
  switch (shape) {
    case 41016:
      return launch_columns<T, 4, 1, 16>(p, g, stream);
    case 42016:
      return launch_columns<T, 4, 2, 16>(p, g, stream);
    case 41032:
      return launch_columns<T, 4, 1, 32>(p, g, stream);
    case 42032:
      return launch_columns<T, 4, 2, 32>(p, g, stream);
    case 41064:
      return launch_columns<T, 4, 1, 64>(p, g, stream);
    case 42064:
      return launch_columns<T, 4, 2, 64>(p, g, stream);
    case 81064:
      return launch_columns<T, 8, 1, 64>(p, g, stream);
    case 82064:
      return launch_columns<T, 8, 2, 64>(p, g, stream);
    case 81096:
      return launch_columns<T, 8, 1, 96>(p, g, stream);
    case 82096:
      return launch_columns<T, 8, 2, 96>(p, g, stream);
    case 81128:
      return launch_columns<T, 8, 1, 128>(p, g, stream);
    case 82128:
      return launch_columns<T, 8, 2, 128>(p, g, stream);
    case 81192:
      return launch_columns<T, 8, 1, 192>(p, g, stream);
    case 81256:
      return launch_columns<T, 8, 1, 256>(p, g, stream);
    default:
      return "mla_decode has no kernel for this shape";
  }
}

}  // namespace

const char* why_no_mla_decode(int heads, int kv_heads, int rope_dim, int latent_dim) {
  return mla_geometry(heads, kv_heads, rope_dim, latent_dim, shared_limit()).why;
}

const char* launch_mla_decode(const MlaDecodeParams& p, void* stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    return launch_typed<decltype(zero)>(p, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace vmla::kernels
