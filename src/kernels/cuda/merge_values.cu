// The merge of mla_decode's splits and the projection of the values behind it, for few rows. A
// block takes 32 rows of one head's matrix, which are on their way before the splits are waited
// for, and merges that head's latent for itself: the splits' rows come from L2 once for each such
// block.
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/plane.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kWarps = 8, kRowsPerWarp = 4, kRows = kWarps * kRowsPerWarp;
constexpr int kWidth = 1024, kSplits = 32;  // at most
constexpr int kSteps = kWidth / (32 * 8);
constexpr int kAtOnce = 14;  // splits whose rows are loaded together

template <typename T>
__global__ void __launch_bounds__(kWarps * 32, 2) merge_values_kernel(const MergeValuesParams p) {
  __shared__ __align__(16) T merged[kWidth];
  let_next_start();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int head = blockIdx.y, b = blockIdx.z;
  const int row_0 = blockIdx.x * kRows + warp * kRowsPerWarp;
  const T* w = static_cast<const T*>(p.w) +
               (static_cast<std::int64_t>(head / p.group) * p.rows + row_0) * p.width;
  uint4 weights[kRowsPerWarp][kSteps];
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int at = (i * 32 + lane) * 8;
      weights[r][i] = at < p.width ? load_streaming(w + static_cast<std::int64_t>(r) * p.width + at)
                                   : make_uint4(0, 0, 0, 0);
    }
  }
  wait_for_previous();

  using Pair = typename PairOf<T>::Type;
  const SplitParams& s = p.split;
  const T* partial = reinterpret_cast<const T*>(s.partial);
  const int column = threadIdx.x * 4;
  const std::int64_t base = static_cast<std::int64_t>(b) * s.splits * p.heads + head;
  // Lane i has split i. Of one in which nothing was visible nothing was written.
  const std::int64_t at = base + static_cast<std::int64_t>(lane) * p.heads;
  const float sum = lane < s.splits ? s.sum[at] : 0.f;
  const float maximum = lane < s.splits ? s.maximum[at] : -INFINITY;
  const float highest = lane_max<32>(maximum);
  const float weight = sum == 0.f ? 0.f : exp2f(maximum - highest) * sum;
  const float total = lane_sum<32>(weight);
  const float share = total == 0.f ? 0.f : weight / total;
  const T* rows = partial + base * p.width + column;
  const int stride = p.heads * p.width;
  float four[4] = {};
#pragma unroll 1
  for (int first = 0; first < s.splits; first += kAtOnce) {
    uint2 part[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      part[i] = first + i < s.splits && column < p.width
                    ? *reinterpret_cast<const uint2*>(rows + (first + i) * stride)
                    : make_uint2(0, 0);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const float by = __shfl_sync(0xffffffffU, share, first + i);
      if (by == 0.f) continue;
      const float2 low = pair_to_float(*reinterpret_cast<const Pair*>(&part[i].x)),
                   high = pair_to_float(*reinterpret_cast<const Pair*>(&part[i].y));
      four[0] = fmaf(by, low.x, four[0]);
      four[1] = fmaf(by, low.y, four[1]);
      four[2] = fmaf(by, high.x, four[2]);
      four[3] = fmaf(by, high.y, four[3]);
    }
  }
  // Rounded, as where merge_splits leaves them to the next kernel.
  *reinterpret_cast<uint2*>(merged + column) =
      make_uint2(pack_pair(T{}, four[0], four[1]), pack_pair(T{}, four[2], four[3]));
  __syncthreads();

  float out[kRowsPerWarp] = {};
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    float latent[8];
    unpack<T>(*reinterpret_cast<const uint4*>(merged + (i * 32 + lane) * 8), latent);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      float values[8];
      unpack<T>(weights[r][i], values);
#pragma unroll
      for (int j = 0; j < 8; ++j) out[r] = fmaf(values[j], latent[j], out[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const float value = lane_sum<32>(out[r]);
    if (lane == 0)
      static_cast<T*>(p.out)[(static_cast<std::int64_t>(b) * p.heads + head) * p.rows + row_0 + r] =
          from_float<T>(value);
  }
}

}  // namespace

const char* why_no_merge_values(int batch, int splits, int width, int rows) {
  if (batch > 2) return "expected up to 2 rows";
  if (splits > kSplits) return "expected up to 32 splits";
  if (width > kWidth || width % 8 != 0) return "expected latents of up to 1024 in steps of 8";
  if (rows % kRows != 0) return "expected values in steps of 32";
  return nullptr;
}

const char* launch_merge_values(const MergeValuesParams& p, void* stream) {
  if (const char* why = why_no_merge_values(p.batch, p.split.splits, p.width, p.rows)) return why;
  const dim3 grid(static_cast<unsigned>(p.rows / kRows),
                  static_cast<unsigned>(p.heads),
                  static_cast<unsigned>(p.batch));
  return dispatch_half(p.scalar, [&](auto zero) {
    launch_dependent(merge_values_kernel<decltype(zero)>,
                     grid,
                     kWarps * 32,
                     0,
                     static_cast<cudaStream_t>(stream),
                     p);
    return last_error();
  });
}

}  // namespace vmla::kernels
