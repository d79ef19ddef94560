// After the merged projection of a decode step: rotary parts are rotated, the new token's key and
// values go to their cache rows, quantised where those are. One launch instead of some twenty.
#include "kernels/cuda/append.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

// element_blocks of the grid take pairs and plain numbers, one a thread; the others take groups.
template <typename T>
__global__ void __launch_bounds__(kAppendThreads)
    rope_append_kernel(const RopeAppendParams p, int element_blocks) {
  let_next_start();
  wait_for_previous();
  const int b = blockIdx.y, half = p.rope_dim / 2;
  T* row = static_cast<T*>(p.projected) + b * p.row_stride;
  const T* cos = static_cast<const T*>(p.cos) + static_cast<std::int64_t>(b) * p.head_dim;
  const T* sin = static_cast<const T*>(p.sin) + static_cast<std::int64_t>(b) * p.head_dim;
  const std::int64_t slot = slot_of(p.pages, b, *p.count - 1);
  const T* keys = row + p.heads * (p.rope_dim + p.nope_dim);
  const T* values = keys + static_cast<std::int64_t>(p.kv_heads) * p.rope_dim;
  // Pair j of a head, its first number at x.
  const auto rotated = [&](const T* x, int kv_head, int j, T& out_1, T& out_2) {
    int dim_1 = j, dim_2 = j + half;
    if (p.rope_dims != nullptr) {
      dim_1 = static_cast<int>(p.rope_dims[kv_head * p.rope_dim + j]);
      dim_2 = static_cast<int>(p.rope_dims[kv_head * p.rope_dim + j + half]);
    }
    rotate(x[0], x[half], cos[dim_1], cos[dim_2], sin[dim_1], sin[dim_2], out_1, out_2);
  };

  int block = static_cast<int>(blockIdx.x) - element_blocks;
  if (block >= 0) {
    if (block < group_blocks(p.k_rope)) {
      append_groups(p.k_rope, slot, block, [&](int i) {
        const int head = i / p.rope_dim, d = i % p.rope_dim, j = d < half ? d : d - half;
        T first, second;
        rotated(keys + head * p.rope_dim + j, head, j, first, second);
        return to_float(d < half ? first : second);
      });
      return;
    }
    block -= group_blocks(p.k_rope);
    if (block < group_blocks(p.plane_1)) {
      append_groups(p.plane_1, slot, block, [&](int i) { return to_float(values[i]); });
      return;
    }
    block -= group_blocks(p.plane_1);
    append_groups(
        p.plane_2, slot, block, [&](int i) { return to_float(values[p.plane_1.width + i]); });
    return;
  }

  const int q_pairs = p.heads * half;
  const int k_pairs = p.k_rope.codec == Codec::None ? p.kv_heads * half : 0;
  int i = blockIdx.x * kAppendThreads + threadIdx.x;
  if (i < q_pairs + k_pairs) {
    const bool is_key = i >= q_pairs;
    const int pair = is_key ? i - q_pairs : i, head = pair / half, j = pair % half;
    const int kv_head = is_key ? head : head / (p.heads / p.kv_heads);
    const int at = head * p.rope_dim + j;
    const T* from = (is_key ? keys : row) + at;
    T* to = is_key ? static_cast<T*>(p.k_rope.payload) + slot * p.k_rope.width + at : row + at;
    T out_1, out_2;
    rotated(from, kv_head, j, out_1, out_2);
    to[0] = out_1;
    to[half] = out_2;
    return;
  }
  i -= q_pairs + k_pairs;
  if (p.plane_1.codec == Codec::None) {
    if (i < p.plane_1.width) {
      static_cast<T*>(p.plane_1.payload)[slot * p.plane_1.width + i] = values[i];
      return;
    }
    i -= p.plane_1.width;
  }
  if (p.plane_2.codec == Codec::None && i < p.plane_2.width) {
    static_cast<T*>(p.plane_2.payload)[slot * p.plane_2.width + i] = values[p.plane_1.width + i];
  }
}

}  // namespace

const char* launch_rope_append(const RopeAppendParams& p, void* stream) {
  const int elements = (p.heads * p.rope_dim + plain_width(p.k_rope)) / 2 + plain_width(p.plane_1) +
                       plain_width(p.plane_2);
  const int groups = group_blocks(p.k_rope) + group_blocks(p.plane_1) + group_blocks(p.plane_2);
  dispatch(p.scalar, [&](auto zero) {
    launch_append(rope_append_kernel<decltype(zero)>, p, elements, groups, stream);
  });
  return last_error();
}

}  // namespace vmla::kernels
