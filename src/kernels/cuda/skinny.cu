// Matrix times 2 to 32 vectors on tensor cores, bound by reading the matrix. A warp takes 32 rows;
// each lane loads 16 bytes of a row at a time, and those eight numbers are its share of two mma
// steps: which k an mma slot stands for does not matter as long as the matrix (A) and the vectors
// (B) agree, so nothing passes through shared memory. The warps of a block share the rows and split
// k; their sums meet at the end.
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/gemv_epilogue.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kStep = 32;  // numbers of a row that the four lanes on it load at once

// kTiles * 8 vectors. A warp has two tiles of 16 rows: neighbours, or (gated) gate and up rows.
template <typename T, int kTiles, bool kGated>
__global__ void __launch_bounds__(kWarps * 32, kTiles == 4 ? 1 : 2)
    skinny_kernel(const GemvParams p) {
  constexpr int kParts = 2, kOutRows = kGated ? 16 : 32;
  constexpr int kAhead = 2;  // steps that are loaded at once, one such group ahead of its use
  constexpr int kPitch = kTiles * 8 + 1;
  __shared__ float partial[kWarps][kParts * 16][kPitch];
  let_next_start();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4;
  const int row_0 = blockIdx.x * kOutRows, head = row_0 / p.rows_per_head;
  const std::int64_t w_row =
      static_cast<std::int64_t>(head / p.group) * p.rows_per_head + row_0 % p.rows_per_head;
  const int column = (lane % 4) * 8, steps = p.width / kStep;
  const T* w = static_cast<const T*>(p.w) + (w_row + quad) * p.width + column;
  const std::int64_t part_stride = static_cast<std::int64_t>(kGated ? p.rows : 16) * p.width;
  const std::int64_t half_stride = static_cast<std::int64_t>(8) * p.width;
  const T* x[kTiles];
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    // What stands in the columns of vectors that are not there is not written.
    const int b = min(n * 8 + quad, p.batch - 1);
    x[n] = static_cast<const T*>(p.x) + b * p.x_stride + static_cast<std::int64_t>(head) * p.width +
           column;
  }
  using Words = uint4[kAhead][kParts][2];
  const auto load = [&](Words& words, int step) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int half = 0; half < 2; ++half)
          words[i][part][half] =
              step + i < steps
                  ? load_streaming(w + part * part_stride + half * half_stride + (step + i) * kStep)
                  : make_uint4(0, 0, 0, 0);
      }
    }
  };
  float sum[kParts][kTiles][4] = {};
  const auto multiply = [&](const Words& words, int step) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (step + i >= steps) break;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const uint4 vector = load_fresh(x[n] + (step + i) * kStep);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          const uint4 &low = words[i][part][0], &high = words[i][part][1];
          mma<T>(sum[part][n], {low.x, high.x, low.y, high.y}, vector.x, vector.y);
          mma<T>(sum[part][n], {low.z, high.z, low.w, high.w}, vector.z, vector.w);
        }
      }
    }
  };

  constexpr int kStride = kWarps * kAhead;
  Words here, there;
  int step = warp * kAhead;
  load(here, step);
  load(there, step + kStride);
  wait_for_previous();
  while (step < steps) {
    multiply(here, step);
    load(here, step + 2 * kStride);
    multiply(there, step + kStride);
    load(there, step + 3 * kStride);
    step += 2 * kStride;
  }

#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        partial[warp][part * 16 + quad + i / 2 * 8][n * 8 + (lane % 4) * 2 + i % 2] =
            sum[part][n][i];
    }
  }
  __syncthreads();
  const int r = threadIdx.x % kOutRows, row = row_0 + r;
  const auto total = [&](int at, int b) {
    float value = 0.f;
#pragma unroll
    for (int from = 0; from < kWarps; ++from) value += partial[from][at][b];
    return value;
  };
  for (int b = threadIdx.x / kOutRows; b < p.batch; b += kWarps * 32 / kOutRows) {
    store_row<T>(p, b, row, kGated ? gated<T>(total(r, b), total(r + 16, b)) : total(r, b));
  }
}

template <typename T, int kTiles>
void launch_tiles(const GemvParams& p, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(p.rows / (p.gated ? 16 : 32));
  if (p.gated) {
    launch_dependent(skinny_kernel<T, kTiles, true>, blocks, kWarps * 32, 0, stream, p);
  } else {
    launch_dependent(skinny_kernel<T, kTiles, false>, blocks, kWarps * 32, 0, stream, p);
  }
}

template <typename T, int kRowTiles>
__global__ void __launch_bounds__(kHeadWarps * 32) heads_kernel(const HeadsGemvParams p) {
  let_next_start();
  heads_block<T, kRowTiles>(p, blockIdx.x, blockIdx.y);
}

}  // namespace

const char* why_no_skinny(int batch, int rows_per_head, int width) {
  if (batch < 1 || batch > 32) return "expected 1 to 32 rows of x";
  if (rows_per_head % 32 != 0) return "expected output rows in steps of 32";
  if (width % kStep != 0) return "expected a width in steps of 32";
  return nullptr;
}

const char* launch_skinny(const GemvParams& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (const char* why = why_no_skinny(p.batch, p.rows_per_head, p.width)) return why;
  return dispatch_half(p.scalar, [&](auto zero) {
    using T = decltype(zero);
    if (p.batch <= 8) {
      launch_tiles<T, 1>(p, on);
    } else if (p.batch <= 16) {
      launch_tiles<T, 2>(p, on);
    } else {
      launch_tiles<T, 4>(p, on);
    }
    return last_error();
  });
}

const char* launch_heads_gemv(const HeadsGemvParams& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const dim3 grid(static_cast<unsigned>(head_column_blocks(p)), static_cast<unsigned>(p.heads));
  return dispatch_half(p.scalar, [&](auto zero) {
    using T = decltype(zero);
    if (p.batch <= 16) {
      launch_dependent(heads_kernel<T, 1>, grid, kHeadWarps * 32, 0, on, p);
    } else if (p.batch <= 32) {
      launch_dependent(heads_kernel<T, 2>, grid, kHeadWarps * 32, 0, on, p);
    } else {
      return "expected 1 to 32 rows of x";
    }
    return last_error();
  });
}

}  // namespace vmla::kernels
