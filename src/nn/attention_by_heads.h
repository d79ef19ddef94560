// Attention over keys and values that are made for some of the heads at a time.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <utility>

#include "nn/layers.h"

namespace vmla {

// Some neighbouring key heads.
struct KeyHeads {
  std::int64_t first = 0, count = 0;
};

// The part of a projection that makes some heads, `dim` rows each.
Linear of_heads(const Linear& projection, const KeyHeads& heads, std::int64_t dim);

// How many bytes the keys and values expanded from the latents of a prompt may take at a time; else
// they would be the largest thing in memory for a long one.
std::int64_t expansion_budget(std::int64_t batch);
// How many key heads at a time stay below `budget` bytes; at least one.
std::int64_t heads_within(std::int64_t budget, std::int64_t bytes_per_head, std::int64_t kv_heads);

// expanded_attention without keys and values of all heads in memory at once. q [B, S, H, D];
// make(heads) -> k, v [B, T, count, D]; mask as AttentionContext's -> [B, S, H*D].
at::Tensor attention_by_heads(
    const at::Tensor& q,
    std::int64_t kv_heads,
    std::int64_t at_once,
    const std::function<std::pair<at::Tensor, at::Tensor>(const KeyHeads&)>& make,
    const at::Tensor& mask,
    double scale);

}  // namespace vmla
