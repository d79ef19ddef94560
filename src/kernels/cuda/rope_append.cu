// After the merged projection of a decode step: rotary parts are rotated, the new token's key and
// values go to their cache rows. One launch instead of some twenty.
#include "kernels/cuda/scalar.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = 256;

// Each product is rounded before the sum, as x * cos + rotate_half(x) * sin is in HF.
template <typename T>
__device__ void rotate(T first, T second, T cos_1, T cos_2, T sin_1, T sin_2, T& out_1, T& out_2) {
  // __fmul_rn is not contracted to a fused multiply-add, which would skip the rounding.
  const auto product = [](T a, T b) {
    return to_float(from_float<T>(__fmul_rn(to_float(a), to_float(b))));
  };
  out_1 = from_float<T>(product(first, cos_1) - product(second, sin_1));
  out_2 = from_float<T>(product(second, cos_2) + product(first, sin_2));
}

template <typename T>
__global__ void rope_append_kernel(const RopeAppendParams p) {
  const int b = blockIdx.y, half = p.rope_dim / 2;
  T* row = static_cast<T*>(p.projected) + b * p.row_stride;
  const T* cos = static_cast<const T*>(p.cos) + static_cast<std::int64_t>(b) * p.head_dim;
  const T* sin = static_cast<const T*>(p.sin) + static_cast<std::int64_t>(b) * p.head_dim;
  const std::int64_t place = *p.count - 1;
  const int q_pairs = p.heads * half, k_pairs = p.kv_heads * half;
  int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < q_pairs + k_pairs) {
    const bool is_key = i >= q_pairs;
    const int pair = is_key ? i - q_pairs : i, head = pair / half, j = pair % half;
    const int kv_head = is_key ? head : head / (p.heads / p.kv_heads);
    int dim_1 = j, dim_2 = j + half;
    if (p.rope_dims != nullptr) {
      dim_1 = static_cast<int>(p.rope_dims[kv_head * p.rope_dim + j]);
      dim_2 = static_cast<int>(p.rope_dims[kv_head * p.rope_dim + j + half]);
    }
    T* from = row + (is_key ? p.heads * (p.rope_dim + p.nope_dim) : 0) + head * p.rope_dim + j;
    T* to = is_key ? static_cast<T*>(p.k_rope) + b * p.k_rope_stride +
                         (place * p.kv_heads + head) * p.rope_dim + j
                   : from;
    T out_1, out_2;
    rotate(from[0], from[half], cos[dim_1], cos[dim_2], sin[dim_1], sin[dim_2], out_1, out_2);
    to[0] = out_1;
    to[half] = out_2;
    return;
  }
  i -= q_pairs + k_pairs;
  const T* values = row + p.heads * (p.rope_dim + p.nope_dim) +
                    static_cast<std::int64_t>(p.kv_heads) * p.rope_dim;
  if (i < p.width_1) {
    static_cast<T*>(p.plane_1)[b * p.plane_1_stride + place * p.width_1 + i] = values[i];
    return;
  }
  i -= p.width_1;
  if (i < p.width_2) {
    static_cast<T*>(p.plane_2)[b * p.plane_2_stride + place * p.width_2 + i] =
        values[p.width_1 + i];
  }
}

}  // namespace

const char* launch_rope_append(const RopeAppendParams& p, void* stream) {
  const int work = (p.heads + p.kv_heads) * p.rope_dim / 2 + p.width_1 + p.width_2;
  const dim3 grid(static_cast<unsigned>((work + kThreads - 1) / kThreads),
                  static_cast<unsigned>(p.batch));
  dispatch(p.scalar, [&](auto zero) {
    using T = decltype(zero);
    rope_append_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(p);
  });
  return last_error();
}

}  // namespace vmla::kernels
