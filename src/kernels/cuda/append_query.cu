// rope_append and the product of the queries' other parts with up_k in one launch: neither needs
// what the other writes.
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/rope_append.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kThreads = kHeadWarps * 32;

// The first head_blocks of the grid multiply, column_blocks a head; the others append, row_blocks a
// row.
template <typename T>
__global__ void __launch_bounds__(kThreads) append_query_kernel(const RopeAppendParams append,
                                                                const HeadsGemvParams product,
                                                                int head_blocks,
                                                                int column_blocks,
                                                                int row_blocks) {
  let_next_start();
  int block = blockIdx.x;
  if (block < head_blocks) {
    heads_block<T, 1>(product, block % column_blocks, block / column_blocks);
    return;
  }
  block -= head_blocks;
  wait_for_previous();
  const RopeAppendRow<T> row(append, block / row_blocks);
  row.append_element(block % row_blocks * kThreads + threadIdx.x);
}

}  // namespace

const char* launch_append_query(const RopeAppendParams& append,
                                const HeadsGemvParams& product,
                                void* stream) {
  if (product.batch > 16) return "expected up to 16 rows";
  if (group_blocks(append.k_rope) + group_blocks(append.plane_1) + group_blocks(append.plane_2) > 0)
    return "expected planes that are not quantised";
  const int column_blocks = head_column_blocks(product);
  const int head_blocks = column_blocks * product.heads;
  const int row_blocks = (append_elements(append) + kThreads - 1) / kThreads;
  return dispatch_half(append.scalar, [&](auto zero) {
    launch_dependent(append_query_kernel<decltype(zero)>,
                     static_cast<unsigned>(head_blocks + row_blocks * append.batch),
                     kThreads,
                     0,
                     static_cast<cudaStream_t>(stream),
                     append,
                     product,
                     head_blocks,
                     column_blocks,
                     row_blocks);
    return last_error();
  });
}

}  // namespace vmla::kernels
