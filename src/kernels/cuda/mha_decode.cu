// One query token against full keys and values, split over the tokens. Bound by reading K and V:
// D / 16 lanes share a token, each with 16 dimensions; every such group of lanes keeps an online
// softmax of its own over every n-th token, and the groups meet at the end.
#include "kernels/cuda/vector.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kAhead = 4;  // tokens whose loads are in flight in one group
constexpr float kLog2E = 1.4426950408889634f;

template <typename T>
__device__ void load_16(const T* from, float (&out)[16]) {
  float low[8], high[8];
  unpack<T>(load_streaming(from), low);
  unpack<T>(load_streaming(from + 8), high);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    out[i] = low[i];
    out[i + 8] = high[i];
  }
}

// kHeads query heads of one key head.
template <typename T, int kDim, int kHeads>
__global__ void __launch_bounds__(kWarps * 32) mha_decode_kernel(const MhaDecodeParams p) {
  constexpr int kLanes = kDim / 16, kGroups = kWarps * 32 / kLanes;
  const int split = blockIdx.x, b = blockIdx.z;
  const int group_size = p.heads / p.kv_heads, chunks = group_size / kHeads;
  const int kv_head = blockIdx.y / chunks;
  const int first_head = kv_head * group_size + (blockIdx.y % chunks) * kHeads;
  const int group = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;

  const int begin = p.split.first[b], end = *p.split.count;
  const int share = (end - begin + p.split.splits - 1) / p.split.splits;
  const int from = begin + split * share, to = min(from + share, end);

  float q[kHeads][16], out[kHeads][16], maximum[kHeads], sum[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    load_16(static_cast<const T*>(p.q) + b * p.q_stride +
                static_cast<std::int64_t>(first_head + h) * kDim + lane * 16,
            q[h]);
    maximum[h] = -INFINITY;
    sum[h] = 0.f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      q[h][i] *= p.split.scale * kLog2E;
      out[h][i] = 0.f;
    }
  }
  const std::int64_t token_stride = static_cast<std::int64_t>(p.kv_heads) * kDim;
  const T* keys = static_cast<const T*>(p.k) + b * p.k_stride + kv_head * kDim + lane * 16;
  const T* values = static_cast<const T*>(p.v) + b * p.v_stride + kv_head * kDim + lane * 16;

  // All lanes of a warp run equally often: they meet in shuffles.
  for (int start = from; start < to; start += kGroups * kAhead) {
    float score[kHeads][kAhead];
    uint4 value_words[kAhead][2];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int token = start + i * kGroups + group;
      const std::int64_t at = min(token, to - 1) * token_stride;
      float key[16];
      load_16(keys + at, key);
      value_words[i][0] = load_streaming(values + at);
      value_words[i][1] = load_streaming(values + at + 8);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        float dot = 0.f;
#pragma unroll
        for (int j = 0; j < 16; ++j) dot = fmaf(q[h][j], key[j], dot);
        dot = lane_sum<kLanes>(dot);
        score[h][i] = token < to ? dot : -INFINITY;
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float highest = maximum[h];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) highest = fmaxf(highest, score[h][i]);
      if (highest == -INFINITY) continue;  // nothing visible yet in this group
      const float rescale = exp2f(maximum[h] - highest);
      maximum[h] = highest;
      sum[h] *= rescale;
#pragma unroll
      for (int j = 0; j < 16; ++j) out[h][j] *= rescale;
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        score[h][i] = exp2f(score[h][i] - highest);
        sum[h] += score[h][i];
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      float low[8], high[8];
      unpack<T>(value_words[i][0], low);
      unpack<T>(value_words[i][1], high);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        const float weight = score[h][i] == -INFINITY ? 0.f : score[h][i];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          out[h][j] = fmaf(weight, low[j], out[h][j]);
          out[h][j + 8] = fmaf(weight, high[j], out[h][j + 8]);
        }
      }
    }
  }

  __shared__ float group_maximum[kGroups], group_sum[kGroups];
  __shared__ float group_out[kGroups][kDim];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    __syncthreads();
    if (lane == 0) {
      group_maximum[group] = maximum[h];
      group_sum[group] = sum[h];
    }
#pragma unroll
    for (int j = 0; j < 16; ++j) group_out[group][lane * 16 + j] = out[h][j];
    __syncthreads();
    float highest = -INFINITY;
    for (int g = 0; g < kGroups; ++g) highest = fmaxf(highest, group_maximum[g]);
    const std::int64_t at =
        (static_cast<std::int64_t>(b) * p.split.splits + split) * p.heads + first_head + h;
    for (int d = threadIdx.x; d < kDim; d += kWarps * 32) {
      float value = 0.f;
      for (int g = 0; g < kGroups; ++g) {
        if (group_sum[g] > 0.f) value += exp2f(group_maximum[g] - highest) * group_out[g][d];
      }
      p.split.partial[at * kDim + d] = value;
    }
    if (threadIdx.x == 0) {
      float total = 0.f;
      for (int g = 0; g < kGroups; ++g) {
        if (group_sum[g] > 0.f) total += exp2f(group_maximum[g] - highest) * group_sum[g];
      }
      p.split.maximum[at] = highest;
      p.split.sum[at] = total;
    }
  }
}

template <typename T, int kDim>
const char* launch_dim(const MhaDecodeParams& p, cudaStream_t stream) {
  const int group = p.heads / p.kv_heads;
  const int per_block = group % 4 == 0 ? 4 : group % 2 == 0 ? 2 : 1;
  const dim3 grid(static_cast<unsigned>(p.split.splits),
                  static_cast<unsigned>(p.heads / per_block),
                  static_cast<unsigned>(p.batch));
  if (per_block == 4) {
    mha_decode_kernel<T, kDim, 4><<<grid, kWarps * 32, 0, stream>>>(p);
  } else if (per_block == 2) {
    mha_decode_kernel<T, kDim, 2><<<grid, kWarps * 32, 0, stream>>>(p);
  } else {
    mha_decode_kernel<T, kDim, 1><<<grid, kWarps * 32, 0, stream>>>(p);
  }
  return last_error();
}

template <typename T>
const char* launch_typed(const MhaDecodeParams& p, cudaStream_t stream) {
  switch (p.head_dim) {
    case 32:
      return launch_dim<T, 32>(p, stream);
    case 64:
      return launch_dim<T, 64>(p, stream);
    case 128:
      return launch_dim<T, 128>(p, stream);
    default:
      return "mha_decode takes a head_dim of 32, 64 or 128";
  }
}

}  // namespace

const char* why_no_mha_decode(int head_dim) {
  return head_dim == 32 || head_dim == 64 || head_dim == 128
             ? nullptr
             : "expected a head_dim of 32, 64 or 128";
}

const char* launch_mha_decode(const MhaDecodeParams& p, void* stream) {
  return dispatch_half(p.scalar, [&](auto zero) {
    return launch_typed<decltype(zero)>(p, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace vmla::kernels
