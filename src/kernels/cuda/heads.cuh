// The product of each head's vectors with its own matrix, as a part of a kernel: skinny.cu has it
// alone, append_query.cu beside the append to the cache.
#pragma once

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vector.cuh"

namespace vmla::kernels {

// x [batch, heads, inner] times w [heads / group, inner, columns]: the sum runs down the columns of
// w, so a lane loads the same eight columns of four rows and pairs the rows' numbers itself; the
// vectors are the 16 rows of A. mma j of a lane's eight has every eighth column.
// Six steps: the 96 rows of an up_k are all on their way before the queries are waited for.
constexpr int kHeadWarps = 4, kHeadAhead = 6;

// Blocks that share the columns of a head.
inline int head_column_blocks(const HeadsGemvParams& p) {
  constexpr int kPerBlock = kHeadWarps * 64;
  return (p.columns + kPerBlock - 1) / kPerBlock;
}

// The work of a block of kHeadWarps * 32 threads; it waits for the grid before.
template <typename T, int kRowTiles>
__device__ void heads_block(const HeadsGemvParams& p, int column_block, int head) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4, pair = lane % 4 * 2;
  const int column_0 = (column_block * kHeadWarps + warp) * 64;
  if (column_0 >= p.columns) {
    wait_for_previous();
    return;
  }
  const int column = column_0 + quad * 8;
  const T* w = static_cast<const T*>(p.w) +
               static_cast<std::int64_t>(head / p.group) * p.inner * p.columns +
               min(column, p.columns - 8);
  const T* x = static_cast<const T*>(p.x) + static_cast<std::int64_t>(head) * p.inner;
  float sum[kRowTiles][8][4] = {};
  for (int begin = 0; begin < p.inner; begin += 16 * kHeadAhead) {
    uint4 words[kHeadAhead][4];
#pragma unroll
    for (int i = 0; i < kHeadAhead; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int n = begin + i * 16 + pair + j % 2 + j / 2 * 8;
        words[i][j] = n < p.inner ? load_streaming(w + static_cast<std::int64_t>(n) * p.columns)
                                  : make_uint4(0, 0, 0, 0);
      }
    }
    if (begin == 0) wait_for_previous();
#pragma unroll
    for (int i = 0; i < kHeadAhead; ++i) {
      std::uint32_t rows[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int b = m * 16 + quad + j % 2 * 8, n = begin + i * 16 + pair + j / 2 * 8;
          rows[m][j] = b < p.batch && n < p.inner
                           ? *reinterpret_cast<const std::uint32_t*>(x + b * p.x_stride + n)
                           : 0;
        }
      }
      const auto* r0 = reinterpret_cast<const std::uint32_t*>(&words[i][0]);
      const auto* r1 = reinterpret_cast<const std::uint32_t*>(&words[i][1]);
      const auto* r8 = reinterpret_cast<const std::uint32_t*>(&words[i][2]);
      const auto* r9 = reinterpret_cast<const std::uint32_t*>(&words[i][3]);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const unsigned halves = j % 2 == 0 ? 0x5410 : 0x7632;
        const std::uint32_t b0 = __byte_perm(r0[j / 2], r1[j / 2], halves);
        const std::uint32_t b1 = __byte_perm(r8[j / 2], r9[j / 2], halves);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) mma<T>(sum[m][j], rows[m], b0, b1);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int b = m * 16 + quad + i / 2 * 8, to = column_0 + (pair + i % 2) * 8;
      if (b >= p.batch || to >= p.columns) continue;
      float eight[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) eight[j] = sum[m][j][i];
      *reinterpret_cast<uint4*>(static_cast<T*>(p.out) +
                                (static_cast<std::int64_t>(b) * p.heads + head) * p.columns + to) =
          pack<T>(eight);
    }
  }
}

}  // namespace vmla::kernels
