// Matrix times a few vectors, bound by reading the matrix: kLanes lanes share a row, each keeps
// kAhead 16-byte loads in flight, and x comes from L1.
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/gemv_epilogue.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 8;

// The dot products of one row with kBatch vectors. The first weights are on their way before the
// vectors are waited for.
template <typename T, int kBatch, int kLanes>
__device__ void row_dot(
    const T* row, const T* x, std::int64_t x_stride, int width, int lane, float (&sum)[kBatch]) {
#pragma unroll
  for (int b = 0; b < kBatch; ++b) sum[b] = 0.f;
  for (int begin = lane * 8; begin < width; begin += kLanes * 8 * kAhead) {
    uint4 words[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kLanes * 8;
      words[i] = at < width ? load_streaming(row + at) : make_uint4(0, 0, 0, 0);
    }
    if (begin == lane * 8) wait_for_previous();
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kLanes * 8;
      if (at >= width) break;
      float weights[8];
      unpack<T>(words[i], weights);
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        float values[8];
        unpack<T>(load_fresh(x + b * x_stride + at), values);
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[b] = fmaf(weights[j], values[j], sum[b]);
      }
    }
  }
  wait_for_previous();  // also a lane without a share
#pragma unroll
  for (int b = 0; b < kBatch; ++b) sum[b] = lane_sum<kLanes>(sum[b]);
}

template <typename T, int kBatch, int kLanes>
__global__ void __launch_bounds__(kThreads) gemv_kernel(const GemvParams p) {
  let_next_start();
  const int index = (blockIdx.x * kThreads + threadIdx.x) / kLanes, lane = threadIdx.x % kLanes;
  // All lanes of a warp go on together, for they meet in shuffles.
  const int row = min(index, p.rows - 1);
  const int head = row / p.rows_per_head;
  const T* x = static_cast<const T*>(p.x) + static_cast<std::int64_t>(head) * p.width;
  const std::int64_t w_row =
      static_cast<std::int64_t>(head / p.group) * p.rows_per_head + row % p.rows_per_head;
  const T* w = static_cast<const T*>(p.w);
  float sum[kBatch];
  row_dot<T, kBatch, kLanes>(w + w_row * p.width, x, p.x_stride, p.width, lane, sum);
  if (p.gated) {
    float up[kBatch];
    row_dot<T, kBatch, kLanes>(w + (w_row + p.rows) * p.width, x, p.x_stride, p.width, lane, up);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) sum[b] = gated<T>(sum[b], up[b]);
  }
  if (lane != 0 || index >= p.rows) return;
#pragma unroll
  for (int b = 0; b < kBatch; ++b) store_row<T>(p, b, row, sum[b]);
}

template <typename T, int kBatch>
void launch_width(const GemvParams& p, cudaStream_t stream) {
  const int lanes = p.width >= 1024 ? 32 : p.width >= 256 ? 16 : 4;
  const int per_block = kThreads / lanes;
  const auto blocks = static_cast<unsigned>((p.rows + per_block - 1) / per_block);
  if (lanes == 32) {
    launch_dependent(gemv_kernel<T, kBatch, 32>, blocks, kThreads, 0, stream, p);
  } else if (lanes == 16) {
    launch_dependent(gemv_kernel<T, kBatch, 16>, blocks, kThreads, 0, stream, p);
  } else {
    launch_dependent(gemv_kernel<T, kBatch, 4>, blocks, kThreads, 0, stream, p);
  }
}

template <typename T>
const char* launch_batch(const GemvParams& p, cudaStream_t stream) {
  switch (p.batch) {
    case 1:
      launch_width<T, 1>(p, stream);
      break;
    case 2:
      launch_width<T, 2>(p, stream);
      break;
    case 3:
      launch_width<T, 3>(p, stream);
      break;
    case 4:
      launch_width<T, 4>(p, stream);
      break;
    default:
      return "gemv takes 1 to 4 rows";
  }
  return last_error();
}

}  // namespace

const char* launch_gemv(const GemvParams& p, void* stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    return launch_batch<decltype(zero)>(p, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace vmla::kernels
