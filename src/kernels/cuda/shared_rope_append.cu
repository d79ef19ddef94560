// rope_append for the layout whose rotary key is one for all heads: each head's query is mixed into
// n complex components (q_hm = conj(w_hm) q_h,j(m)) and rotated, the key rotated and stored.
#include "kernels/cuda/append.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

template <typename T>
__global__ void __launch_bounds__(kAppendThreads)
    shared_rope_append_kernel(const SharedRopeAppendParams p, int element_blocks) {
  let_next_start();
  wait_for_previous();
  const int b = blockIdx.y, n = p.components;
  const T* row = static_cast<const T*>(p.projected) + b * p.row_stride;
  const T* cos = static_cast<const T*>(p.cos) + static_cast<std::int64_t>(b) * p.head_dim;
  const T* sin = static_cast<const T*>(p.sin) + static_cast<std::int64_t>(b) * p.head_dim;
  const std::int64_t slot = slot_of(p.pages, b, *p.count - 1);
  const T* key = row + p.heads * p.head_dim;
  const T* latent = key + 2 * n;
  // Component m of what has the given real and imaginary parts.
  const auto rotated = [&](T re, T im, int m, T& out_1, T& out_2) {
    const auto dim_1 = p.rope_dims[m], dim_2 = p.rope_dims[m + n];
    rotate(re, im, cos[dim_1], cos[dim_2], sin[dim_1], sin[dim_2], out_1, out_2);
  };

  const int block = static_cast<int>(blockIdx.x) - element_blocks;
  if (block >= 0) {
    if (block < group_blocks(p.k_rope)) {
      append_groups(p.k_rope, slot, block, [&](int i) {
        const int m = i < n ? i : i - n;
        T first, second;
        rotated(key[m], key[m + n], m, first, second);
        return to_float(i < n ? first : second);
      });
      return;
    }
    append_groups(
        p.latent, slot, block - group_blocks(p.k_rope), [&](int i) { return to_float(latent[i]); });
    return;
  }

  int i = blockIdx.x * kAppendThreads + threadIdx.x;
  if (i < p.heads * n) {
    const int head = i / n, m = i % n;
    const T re = row[head * p.head_dim + p.rope_dims[m]];
    const T im = row[head * p.head_dim + p.rope_dims[m + n]];
    const T* w = static_cast<const T*>(p.q_mix) + 2 * i;
    const T mixed_re = from_float<T>(rounded_product(re, w[0]) + rounded_product(im, w[1]));
    const T mixed_im = from_float<T>(rounded_product(im, w[0]) - rounded_product(re, w[1]));
    T* out =
        static_cast<T*>(p.q_rope) + (static_cast<std::int64_t>(b) * p.heads + head) * 2 * n + m;
    rotated(mixed_re, mixed_im, m, out[0], out[n]);
    return;
  }
  i -= p.heads * n;
  if (p.k_rope.codec == Codec::None) {
    if (i < n) {
      T* out = static_cast<T*>(p.k_rope.payload) + slot * p.k_rope.width + i;
      rotated(key[i], key[i + n], i, out[0], out[n]);
      return;
    }
    i -= n;
  }
  if (p.latent.codec == Codec::None && i < p.latent.width)
    static_cast<T*>(p.latent.payload)[slot * p.latent.width + i] = latent[i];
}

}  // namespace

const char* launch_shared_rope_append(const SharedRopeAppendParams& p, void* stream) {
  const int elements = p.heads * p.components + plain_width(p.k_rope) / 2 + plain_width(p.latent);
  const int groups = group_blocks(p.k_rope) + group_blocks(p.latent);
  dispatch(p.scalar, [&](auto zero) {
    launch_append(shared_rope_append_kernel<decltype(zero)>, p, elements, groups, stream);
  });
  return last_error();
}

}  // namespace vmla::kernels
