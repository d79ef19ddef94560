// One row of rope_append: its rotations, and the numbers that go to the cache as they are. A part
// of two kernels: rope_append.cu has it alone, append_query.cu beside a product.
#pragma once

#include "kernels/cuda/append.cuh"

namespace vmla::kernels {

// Single numbers and pairs of a row that are not quantised, each a thread's work.
inline int append_elements(const RopeAppendParams& p) {
  return (p.heads * p.rope_dim + plain_width(p.k_rope)) / 2 + plain_width(p.plane_1) +
         plain_width(p.plane_2);
}

// Reads what the kernel before wrote: to be made after waiting for it.
template <typename T>
struct RopeAppendRow {
  const RopeAppendParams& p;
  T* row;
  const T *cos, *sin, *keys, *values;
  std::int64_t slot;
  int half;

  __device__ RopeAppendRow(const RopeAppendParams& params, int b)
      : p(params),
        row(static_cast<T*>(p.projected) + b * p.row_stride),
        cos(static_cast<const T*>(p.cos) + static_cast<std::int64_t>(b) * p.head_dim),
        sin(static_cast<const T*>(p.sin) + static_cast<std::int64_t>(b) * p.head_dim),
        keys(row + p.heads * (p.rope_dim + p.nope_dim)),
        values(keys + static_cast<std::int64_t>(p.kv_heads) * p.rope_dim),
        slot(slot_of(p.pages, b, *p.count - 1)),
        half(p.rope_dim / 2) {}

  // Pair j of a head, its first number at x.
  __device__ void rotated(const T* x, int kv_head, int j, T& out_1, T& out_2) const {
    int dim_1 = j, dim_2 = j + half;
    if (p.rope_dims != nullptr) {
      dim_1 = static_cast<int>(p.rope_dims[kv_head * p.rope_dim + j]);
      dim_2 = static_cast<int>(p.rope_dims[kv_head * p.rope_dim + j + half]);
    }
    rotate(x[0], x[half], cos[dim_1], cos[dim_2], sin[dim_1], sin[dim_2], out_1, out_2);
  }

  // Number i of append_elements(p); more are none.
  __device__ void append_element(int i) const {
    const int q_pairs = p.heads * half;
    const int k_pairs = p.k_rope.codec == Codec::None ? p.kv_heads * half : 0;
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
    if (p.plane_2.codec == Codec::None && i < p.plane_2.width)
      static_cast<T*>(p.plane_2.payload)[slot * p.plane_2.width + i] = values[p.plane_1.width + i];
  }
};

}  // namespace vmla::kernels
