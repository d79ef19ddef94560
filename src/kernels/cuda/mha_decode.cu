// One query token against full keys and values, split over the tokens. Bound by reading K and V:
// D / 16 lanes share a token, each with 16 dimensions; every such group of lanes keeps an online
// softmax of its own over every n-th token, and the groups meet at the end.
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/plane.cuh"
#include "kernels/device.h"

namespace vmla::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kAhead = 4;  // tokens whose loads are in flight in one group
constexpr float kLog2E = 1.4426950408889634f;

// Sixteen numbers as stored, and the scale that they share.
template <Codec kCodec>
struct Sixteen {
  uint4 words[kCodec == Codec::None ? 2 : 1];
  float scale;
};

// Numbers `first` to first + 15 of the token at `slot`.
template <Codec kCodec>
__device__ Sixteen<kCodec> load_sixteen(const PlaneParams& plane, int slot, int first) {
  Sixteen<kCodec> out;
  const std::int64_t element = static_cast<std::int64_t>(slot) * plane.width + first;
  const auto* payload = static_cast<const unsigned char*>(plane.payload);
  if constexpr (kCodec == Codec::None) {
    out.words[0] = load_streaming(payload + 2 * element);
    out.words[1] = load_streaming(payload + 2 * element + 16);
    out.scale = 1.f;
  } else {
    if constexpr (kCodec == Codec::Int4) {
      const uint2 two = *reinterpret_cast<const uint2*>(payload + element / 2);
      out.words[0] = make_uint4(two.x, two.y, 0, 0);
    } else {
      out.words[0] = load_streaming(payload + element);
    }
    // Widths are whole groups, and sixteen numbers never reach over the end of one.
    out.scale = scale_at(plane.scales, element / plane.group);
  }
  return out;
}

template <typename T, Codec kCodec>
__device__ void unpack_sixteen(const Sixteen<kCodec>& stored, float (&low)[8], float (&high)[8]) {
  if constexpr (kCodec == Codec::None) {
    unpack<T>(stored.words[0], low);
    unpack<T>(stored.words[1], high);
  } else {
    const uint4& words = stored.words[0];
    const bool halves = kCodec == Codec::Int4;
    unpack<T>(dequantise_8<T>(kCodec, make_uint2(words.x, halves ? 0 : words.y), stored.scale),
              low);
    unpack<T>(
        dequantise_8<T>(
            kCodec, halves ? make_uint2(words.y, 0) : make_uint2(words.z, words.w), stored.scale),
        high);
  }
}

// kHeads query heads of one key head.
template <typename T, Codec kCodec, int kDim, int kHeads>
__global__ void __launch_bounds__(kWarps * 32) mha_decode_kernel(const MhaDecodeParams p) {
  let_next_start();
  wait_for_previous();
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
    const T* row = static_cast<const T*>(p.q) + b * p.q_stride +
                   static_cast<std::int64_t>(first_head + h) * kDim + lane * 16;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float eight[8];
      unpack<T>(load_fresh(row + i * 8), eight);
#pragma unroll
      for (int j = 0; j < 8; ++j) q[h][i * 8 + j] = eight[j];
    }
    maximum[h] = -INFINITY;
    sum[h] = 0.f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      q[h][i] *= p.split.scale * kLog2E;
      out[h][i] = 0.f;
    }
  }
  const int first_number = kv_head * kDim + lane * 16;

  // All lanes of a warp run equally often: they meet in shuffles.
  for (int start = from; start < to; start += kGroups * kAhead) {
    float score[kHeads][kAhead];
    Sixteen<kCodec> value[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int token = start + i * kGroups + group;
      const int slot = slot_of(p.pages, b, min(token, to - 1));
      float low[8], high[8];
      unpack_sixteen<T>(load_sixteen<kCodec>(p.k, slot, first_number), low, high);
      value[i] = load_sixteen<kCodec>(p.v, slot, first_number);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        float dot = 0.f;
#pragma unroll
        for (int j = 0; j < 8; ++j) dot = fmaf(q[h][j], low[j], dot);
#pragma unroll
        for (int j = 0; j < 8; ++j) dot = fmaf(q[h][j + 8], high[j], dot);
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
      unpack_sixteen<T>(value[i], low, high);
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

template <typename T, Codec kCodec, int kDim>
const char* launch_dim(const MhaDecodeParams& p, cudaStream_t stream) {
  const int group = p.heads / p.kv_heads;
  const int per_block = group % 4 == 0 ? 4 : group % 2 == 0 ? 2 : 1;
  const auto kernel = per_block == 4   ? mha_decode_kernel<T, kCodec, kDim, 4>
                      : per_block == 2 ? mha_decode_kernel<T, kCodec, kDim, 2>
                                       : mha_decode_kernel<T, kCodec, kDim, 1>;
  const dim3 grid(static_cast<unsigned>(p.split.splits),
                  static_cast<unsigned>(p.heads / per_block),
                  static_cast<unsigned>(p.batch));
  launch_dependent(kernel, grid, kWarps * 32, 0, stream, p);
  return last_error();
}

template <typename T, Codec kCodec>
const char* launch_codec(const MhaDecodeParams& p, cudaStream_t stream) {
  switch (p.head_dim) {
    case 32:
      return launch_dim<T, kCodec, 32>(p, stream);
    case 64:
      return launch_dim<T, kCodec, 64>(p, stream);
    case 128:
      return launch_dim<T, kCodec, 128>(p, stream);
    default:
      return "mha_decode takes a head_dim of 32, 64 or 128";
  }
}

template <typename T>
const char* launch_typed(const MhaDecodeParams& p, cudaStream_t stream) {
  switch (p.k.codec) {
    case Codec::Int8:
      return launch_codec<T, Codec::Int8>(p, stream);
    case Codec::Fp8:
      return launch_codec<T, Codec::Fp8>(p, stream);
    case Codec::Int4:
      return launch_codec<T, Codec::Int4>(p, stream);
    default:
      return launch_codec<T, Codec::None>(p, stream);
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
