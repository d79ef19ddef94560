// After the merged projection of a decode step: rotary parts are rotated, the new token's key and
// values go to their cache rows, quantised where those are. One launch instead of some twenty.
#include "kernels/cuda/rope_append.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

// element_blocks of the grid take pairs and plain numbers, one a thread; the others take groups.
template <typename T>
__global__ void __launch_bounds__(kAppendThreads)
    rope_append_kernel(const RopeAppendParams p, int element_blocks) {
  let_next_start();
  wait_for_previous();
  int block = static_cast<int>(blockIdx.x) - element_blocks;
  const RopeAppendRow<T> row(p, blockIdx.y);
  if (block >= 0) {
    if (block < group_blocks(p.k_rope)) {
      append_groups(p.k_rope, row.slot, block, [&](int i) {
        const int head = i / p.rope_dim, d = i % p.rope_dim, j = d < row.half ? d : d - row.half;
        T first, second;
        row.rotated(row.keys + head * p.rope_dim + j, head, j, first, second);
        return to_float(d < row.half ? first : second);
      });
      return;
    }
    block -= group_blocks(p.k_rope);
    if (block < group_blocks(p.plane_1)) {
      append_groups(p.plane_1, row.slot, block, [&](int i) { return to_float(row.values[i]); });
      return;
    }
    block -= group_blocks(p.plane_1);
    append_groups(p.plane_2, row.slot, block, [&](int i) {
      return to_float(row.values[p.plane_1.width + i]);
    });
    return;
  }

  row.append_element(blockIdx.x * kAppendThreads + threadIdx.x);
}

}  // namespace

const char* launch_rope_append(const RopeAppendParams& p, void* stream) {
  const int groups = group_blocks(p.k_rope) + group_blocks(p.plane_1) + group_blocks(p.plane_2);
  dispatch(p.scalar, [&](auto zero) {
    launch_append(rope_append_kernel<decltype(zero)>, p, append_elements(p), groups, stream);
  });
  return last_error();
}

}  // namespace vmla::kernels
