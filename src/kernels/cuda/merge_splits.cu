// The second half of split-KV decoding: the splits' sums brought to one maximum and normalised. Of
// up to 16 splits a warp takes 128 columns of one head and has all of their sums in flight at once;
// of more, which only few rows have, a block does, and its warps share out the splits.
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/plane.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kWarps = 8, kColumns = 128;
constexpr int kMostSplits = 128, kFewSplits = 16;

// Four neighbours of a split's result.
template <typename T, Partials kPartials>
__device__ float4 load_four(const float* partial, std::int64_t at) {
  if constexpr (kPartials == Partials::Sums) {
    return *reinterpret_cast<const float4*>(partial + at);
  } else {
    using Pair = typename PairOf<T>::Type;
    const uint2 words = *reinterpret_cast<const uint2*>(reinterpret_cast<const T*>(partial) + at);
    const float2 low = pair_to_float(*reinterpret_cast<const Pair*>(&words.x)),
                 high = pair_to_float(*reinterpret_cast<const Pair*>(&words.y));
    return make_float4(low.x, low.y, high.x, high.y);
  }
}

// What a split's result counts for, given its weight and its sum, before all are divided by the
// total of weight * sum.
template <Partials kPartials>
__device__ float factor(float weight, float sum) {
  return kPartials == Partials::Sums ? weight : weight * sum;
}

template <typename T, Partials kPartials>
__global__ void __launch_bounds__(kWarps * 32) merge_splits_kernel(const MergeParams p) {
  __shared__ float weight[kMostSplits];
  __shared__ float4 sums[kWarps][32];
  let_next_start();
  wait_for_previous();
  const int head = blockIdx.y, b = blockIdx.z, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const SplitParams& s = p.split;
  const std::int64_t base = static_cast<std::int64_t>(b) * s.splits * p.heads + head;

  // Every warp finds the total for itself, the first notes the weights for all.
  float maximum[kMostSplits / 32], sum[kMostSplits / 32], highest = -INFINITY, total = 0.f;
#pragma unroll
  for (int i = 0; i < kMostSplits / 32; ++i) {
    const int split = lane + i * 32;
    const std::int64_t at = base + static_cast<std::int64_t>(split) * p.heads;
    sum[i] = split < s.splits ? s.sum[at] : 0.f;
    maximum[i] = split < s.splits ? s.maximum[at] : -INFINITY;
    highest = fmaxf(highest, maximum[i]);
  }
  highest = lane_max<32>(highest);
#pragma unroll
  for (int i = 0; i < kMostSplits / 32; ++i) {
    // Of a split in which nothing was visible nothing was written.
    const float mine = sum[i] == 0.f ? 0.f : exp2f(maximum[i] - highest);
    total += mine * sum[i];
    if (warp == 0) weight[lane + i * 32] = factor<kPartials>(mine, sum[i]);
  }
  total = lane_sum<32>(total);
  __syncthreads();

  const int column = blockIdx.x * kColumns + lane * 4;
  float4 mine = make_float4(0.f, 0.f, 0.f, 0.f);
  if (column < p.width) {
#pragma unroll 4
    for (int split = warp; split < s.splits; split += kWarps) {
      const float by = weight[split];
      if (by == 0.f) continue;
      const float4 part = load_four<T, kPartials>(
          s.partial, (base + static_cast<std::int64_t>(split) * p.heads) * p.width + column);
      mine.x = fmaf(by, part.x, mine.x);
      mine.y = fmaf(by, part.y, mine.y);
      mine.z = fmaf(by, part.z, mine.z);
      mine.w = fmaf(by, part.w, mine.w);
    }
  }
  sums[warp][lane] = mine;
  __syncthreads();
  if (warp != 0 || column >= p.width) return;
#pragma unroll
  for (int w = 1; w < kWarps; ++w) {
    const float4 part = sums[w][lane];
    mine.x += part.x;
    mine.y += part.y;
    mine.z += part.z;
    mine.w += part.w;
  }
  const float scale = total == 0.f ? 0.f : 1.f / total;
  T* out = static_cast<T*>(p.out) + (static_cast<std::int64_t>(b) * p.heads + head) * p.width;
  *reinterpret_cast<uint2*>(out + column) =
      make_uint2(pack_pair(T{}, mine.x * scale, mine.y * scale),
                 pack_pair(T{}, mine.z * scale, mine.w * scale));
}

// kMost: splits that a warp can take, a power of two.
constexpr int kFewWarps = 2;

template <typename T, int kMost, Partials kPartials>
__global__ void __launch_bounds__(kFewWarps * 32) merge_few_kernel(const MergeParams p) {
  let_next_start();
  wait_for_previous();
  const SplitParams& s = p.split;
  const int lane = threadIdx.x % 32, parts = (p.width + kColumns - 1) / kColumns;
  const int warp = blockIdx.x * kFewWarps + threadIdx.x / 32, row = warp / parts;
  if (row >= p.batch * p.heads) return;
  const std::int64_t base =
      static_cast<std::int64_t>(row / p.heads) * s.splits * p.heads + row % p.heads;
  const int column = (warp % parts) * kColumns + lane * 4;
  float4 part[kMost];
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    part[i] =
        i < s.splits && column < p.width
            ? load_four<T, kPartials>(
                  s.partial, (base + static_cast<std::int64_t>(i) * p.heads) * p.width + column)
            : make_float4(0.f, 0.f, 0.f, 0.f);
  }
  // Lane i has split i. Of one in which nothing was visible nothing was written.
  const std::int64_t at = base + static_cast<std::int64_t>(lane) * p.heads;
  const float sum = lane < s.splits ? s.sum[at] : 0.f;
  const float maximum = lane < s.splits ? s.maximum[at] : -INFINITY;
  const float highest = lane_max<32>(maximum);
  const float weight = sum == 0.f ? 0.f : exp2f(maximum - highest);
  const float total = lane_sum<32>(weight * sum);
  const float scale = total == 0.f ? 0.f : 1.f / total;
  float4 mine = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    const float by = __shfl_sync(0xffffffffU, factor<kPartials>(weight, sum), i);
    if (by == 0.f) continue;
    mine.x = fmaf(by, part[i].x, mine.x);
    mine.y = fmaf(by, part[i].y, mine.y);
    mine.z = fmaf(by, part[i].z, mine.z);
    mine.w = fmaf(by, part[i].w, mine.w);
  }
  if (column >= p.width) return;
  *reinterpret_cast<uint2*>(static_cast<T*>(p.out) + static_cast<std::int64_t>(row) * p.width +
                            column) = make_uint2(pack_pair(T{}, mine.x * scale, mine.y * scale),
                                                 pack_pair(T{}, mine.z * scale, mine.w * scale));
}

template <typename T, Partials kPartials>
const char* launch_few(const MergeParams& p, cudaStream_t stream) {
  const int warps = p.batch * p.heads * ((p.width + kColumns - 1) / kColumns);
  const auto blocks = static_cast<unsigned>((warps + kFewWarps - 1) / kFewWarps);
  const auto kernel = p.split.splits <= 4   ? merge_few_kernel<T, 4, kPartials>
                      : p.split.splits <= 8 ? merge_few_kernel<T, 8, kPartials>
                                            : merge_few_kernel<T, kFewSplits, kPartials>;
  launch_dependent(kernel, blocks, kFewWarps * 32, 0, stream, p);
  return last_error();
}

template <typename T, Partials kPartials>
const char* launch_kind(const MergeParams& p, cudaStream_t stream) {
  if (p.split.splits <= kFewSplits) return launch_few<T, kPartials>(p, stream);
  const dim3 grid(static_cast<unsigned>((p.width + kColumns - 1) / kColumns),
                  static_cast<unsigned>(p.heads),
                  static_cast<unsigned>(p.batch));
  launch_dependent(merge_splits_kernel<T, kPartials>, grid, kWarps * 32, 0, stream, p);
  return last_error();
}

}  // namespace

const char* launch_merge_splits(const MergeParams& p, Partials partials, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (p.split.splits > kMostSplits) return "merge_splits takes up to 128 splits";
  if (p.width % 4 != 0) return "merge_splits takes widths in steps of 4";
  return dispatch_half(p.scalar, [&](auto zero) {
    using T = decltype(zero);
    return partials == Partials::Sums ? launch_kind<T, Partials::Sums>(p, on)
                                      : launch_kind<T, Partials::Rows>(p, on);
  });
}

}  // namespace vmla::kernels
