// What the invariant tests of the latent layouts share.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "nn/attention.h"
#include "nn/rope.h"
#include "support/expect_close.h"

namespace vmla::test {

constexpr std::int64_t kHeadDim = 12;

inline AttentionContext context_for(const at::Tensor& positions,
                                    KvCache* cache = nullptr,
                                    AttentionPath path = AttentionPath::Expanded,
                                    CacheMode mode = CacheMode::Native) {
  static const RotaryEmbedding rope(kHeadDim, 100.0, 4096, {});
  AttentionContext context;
  std::tie(context.cos, context.sin) = rope.cos_sin(positions, at::kFloat);
  context.cache = cache;
  context.path = path;
  context.cache_mode = mode;
  return context;
}

inline at::Tensor first_positions(std::int64_t tokens) {
  return at::arange(tokens, at::kLong).unsqueeze(0);
}

// Feeds the tokens in the given pieces through a cache; poisons unused rows between the steps.
// hidden [B, S, E], image bool [B, S] or undefined. after: told the cache and its tokens.
inline at::Tensor forward_in_steps(
    const Attention& attention,
    const at::Tensor& hidden,
    const at::Tensor& image,
    const std::vector<std::int64_t>& pieces,
    AttentionPath path,
    CacheMode mode,
    const std::function<void(const ContiguousCache&, std::int64_t)>& after = {}) {
  ContiguousCache cache({attention.cache_layout(mode)},
                        hidden.size(0),
                        at::kFloat,
                        at::kCPU,
                        /*block_tokens=*/8);
  std::vector<at::Tensor> outputs;
  std::int64_t at_token = 0;
  for (const std::int64_t piece : pieces) {
    cache.poison_unused();
    const at::Tensor positions = at::arange(at_token, at_token + piece, at::kLong).unsqueeze(0);
    AttentionContext context = context_for(positions, &cache, path, mode);
    if (image.defined()) context.image = image.narrow(1, at_token, piece);
    outputs.push_back(attention.forward(hidden.narrow(1, at_token, piece), context));
    cache.advance(piece);
    at_token += piece;
    if (after) after(cache, at_token);
  }
  return at::cat(outputs, 1);
}

// forward(pieces, path, mode) of 19 tokens gives `want` however they are split.
inline void expect_steps_equal_one_forward(
    const std::function<at::Tensor(const std::vector<std::int64_t>&, AttentionPath, CacheMode)>&
        forward,
    const at::Tensor& want,
    Tolerance tolerance) {
  const std::vector<std::vector<std::int64_t>> splits{
      {19}, {11, 8}, {10, 1, 1, 1, 1, 1, 1, 1, 1, 1}, std::vector<std::int64_t>(19, 1)};
  for (const auto path : {AttentionPath::Expanded, AttentionPath::Absorbed, AttentionPath::Auto}) {
    for (const auto& split : splits) {
      EXPECT_TRUE(close(forward(split, path, CacheMode::Native), want, tolerance))
          << split.size() << " steps, path " << static_cast<int>(path);
    }
  }
  EXPECT_TRUE(close(forward(splits[2], AttentionPath::Auto, CacheMode::Expanded), want, tolerance));
}

}  // namespace vmla::test
