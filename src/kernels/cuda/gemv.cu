// Matrix times a few vectors, bound by reading the matrix: kLanes lanes share a row, each keeps
// kAhead 16-byte loads in flight, and x comes from L1.
#include "kernels/cuda/vector.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 8;

// The dot products of one row with kBatch vectors.
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
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kLanes * 8;
      if (at >= width) break;
      float weights[8];
      unpack<T>(words[i], weights);
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        float values[8];
        unpack<T>(__ldg(reinterpret_cast<const uint4*>(x + b * x_stride + at)), values);
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[b] = fmaf(weights[j], values[j], sum[b]);
      }
    }
  }
#pragma unroll
  for (int b = 0; b < kBatch; ++b) sum[b] = lane_sum<kLanes>(sum[b]);
}

template <typename T, int kBatch, int kLanes>
__global__ void __launch_bounds__(kThreads) gemv_kernel(const GemvParams p) {
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
    for (int b = 0; b < kBatch; ++b) {
      const float gate = to_float(from_float<T>(sum[b]));
      const float activated = to_float(from_float<T>(gate / (1.f + __expf(-gate))));
      sum[b] = activated * to_float(from_float<T>(up[b]));
    }
  }
  if (lane != 0 || index >= p.rows) return;
#pragma unroll
  for (int b = 0; b < kBatch; ++b) {
    const std::int64_t at = static_cast<std::int64_t>(b) * p.rows + row;
    float value = sum[b];
    if (p.bias != nullptr) value += to_float(static_cast<const T*>(p.bias)[row]);
    if (p.residual != nullptr)
      value = to_float(from_float<T>(value)) + to_float(static_cast<const T*>(p.residual)[at]);
    static_cast<T*>(p.out)[at] = from_float<T>(value);
  }
}

template <typename T, int kBatch>
void launch_width(const GemvParams& p, cudaStream_t stream) {
  const int lanes = p.width >= 1024 ? 32 : p.width >= 256 ? 16 : 4;
  const int per_block = kThreads / lanes;
  const auto blocks = static_cast<unsigned>((p.rows + per_block - 1) / per_block);
  if (lanes == 32) {
    gemv_kernel<T, kBatch, 32><<<blocks, kThreads, 0, stream>>>(p);
  } else if (lanes == 16) {
    gemv_kernel<T, kBatch, 16><<<blocks, kThreads, 0, stream>>>(p);
  } else {
    gemv_kernel<T, kBatch, 4><<<blocks, kThreads, 0, stream>>>(p);
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

// Columns run along the lanes, so that each step of the sum reads whole cache lines.
constexpr int kColumnThreads = 32, kSlices = 8;

template <typename T, int kBatch>
__global__ void __launch_bounds__(kColumnThreads* kSlices)
    heads_gemv_kernel(const HeadsGemvParams p) {
  __shared__ float partial[kSlices][kBatch][kColumnThreads * 8 + 4];
  const int head = blockIdx.y, column = (blockIdx.x * kColumnThreads + threadIdx.x) * 8;
  const T* x = static_cast<const T*>(p.x) + static_cast<std::int64_t>(head) * p.inner;
  const T* w = static_cast<const T*>(p.w) +
               static_cast<std::int64_t>(head / p.group) * p.inner * p.columns + column;
  float sum[kBatch][8] = {};
  if (column < p.columns) {
#pragma unroll 8
    for (int n = threadIdx.y; n < p.inner; n += kSlices) {
      float weights[8];
      unpack<T>(load_streaming(w + static_cast<std::int64_t>(n) * p.columns), weights);
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const float value = to_float(x[b * p.x_stride + n]);
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[b][j] = fmaf(value, weights[j], sum[b][j]);
      }
    }
  }
#pragma unroll
  for (int b = 0; b < kBatch; ++b) {
#pragma unroll
    for (int j = 0; j < 8; ++j) partial[threadIdx.y][b][threadIdx.x * 8 + j] = sum[b][j];
  }
  __syncthreads();
  const int thread = threadIdx.y * kColumnThreads + threadIdx.x;
  const int out_column = blockIdx.x * kColumnThreads * 8 + thread;
  if (out_column >= p.columns) return;
#pragma unroll
  for (int b = 0; b < kBatch; ++b) {
    float total = 0.f;
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) total += partial[slice][b][thread];
    static_cast<T*>(
        p.out)[(static_cast<std::int64_t>(b) * p.heads + head) * p.columns + out_column] =
        from_float<T>(total);
  }
}

template <typename T>
const char* launch_heads_batch(const HeadsGemvParams& p, cudaStream_t stream) {
  const int per_block = kColumnThreads * 8;
  const dim3 grid(static_cast<unsigned>((p.columns + per_block - 1) / per_block),
                  static_cast<unsigned>(p.heads));
  const dim3 block(kColumnThreads, kSlices);
  switch (p.batch) {
    case 1:
      heads_gemv_kernel<T, 1><<<grid, block, 0, stream>>>(p);
      break;
    case 2:
      heads_gemv_kernel<T, 2><<<grid, block, 0, stream>>>(p);
      break;
    case 3:
      heads_gemv_kernel<T, 3><<<grid, block, 0, stream>>>(p);
      break;
    case 4:
      heads_gemv_kernel<T, 4><<<grid, block, 0, stream>>>(p);
      break;
    default:
      return "heads_gemv takes 1 to 4 rows";
  }
  return last_error();
}

}  // namespace

const char* launch_gemv(const GemvParams& p, void* stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    return launch_batch<decltype(zero)>(p, static_cast<cudaStream_t>(stream));
  });
}

const char* launch_heads_gemv(const HeadsGemvParams& p, void* stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    return launch_heads_batch<decltype(zero)>(p, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace vmla::kernels
