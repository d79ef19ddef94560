// The second half of split-KV decoding: the splits' sums brought to one maximum and normalised.
#include "kernels/cuda/scalar.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 128;

template <typename T>
__global__ void merge_splits_kernel(const MergeParams p) {
  const int head = blockIdx.y, b = blockIdx.z;
  const SplitParams& s = p.split;
  const std::int64_t base = static_cast<std::int64_t>(b) * s.splits * p.heads + head;
  float maximum = -INFINITY;
  for (int i = 0; i < s.splits; ++i)
    maximum = fmaxf(maximum, s.maximum[base + static_cast<std::int64_t>(i) * p.heads]);
  const int column = blockIdx.x * kThreads + threadIdx.x;
  float total = 0.f, value = 0.f;
  for (int i = 0; i < s.splits; ++i) {
    const std::int64_t at = base + static_cast<std::int64_t>(i) * p.heads;
    const float split_sum = s.sum[at];
    if (split_sum == 0.f) continue;  // nothing was visible there, and nothing was written
    const float weight = exp2f(s.maximum[at] - maximum);
    total += weight * split_sum;
    if (column < p.width) value += weight * s.partial[at * p.width + column];
  }
  if (column < p.width) {
    static_cast<T*>(p.out)[(static_cast<std::int64_t>(b) * p.heads + head) * p.width + column] =
        from_float<T>(total == 0.f ? 0.f : value / total);
  }
}

}  // namespace

const char* launch_merge_splits(const MergeParams& p, void* stream) {
  const dim3 grid(static_cast<unsigned>((p.width + kThreads - 1) / kThreads),
                  static_cast<unsigned>(p.heads),
                  static_cast<unsigned>(p.batch));
  dispatch(p.scalar, [&](auto zero) {
    using T = decltype(zero);
    merge_splits_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(p);
  });
  return last_error();
}

}  // namespace vmla::kernels
