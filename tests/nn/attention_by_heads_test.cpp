#include "nn/attention_by_heads.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nn/attention.h"
#include "nn/mask.h"
#include "support/expect_close.h"

namespace vmla::test {
namespace {

TEST(AttentionByHeads, NumbersOfHeads) {
  EXPECT_EQ(heads_within(100, 30, 8), 3);
  EXPECT_EQ(heads_within(100, 1, 8), 8);
  EXPECT_EQ(heads_within(100, 1000, 8), 1);
  EXPECT_EQ(heads_within(100, 0, 8), 8);
}

TEST(AttentionByHeads, SomeAtATimeEqualAllAtOnce) {
  auto random = at::detail::createCPUGenerator(5);
  constexpr std::int64_t kHeads = 12, kKeyHeads = 6;
  const at::Tensor k = at::randn({2, 9, kKeyHeads, 8}, random),
                   v = at::randn({2, 9, kKeyHeads, 8}, random);
  at::Tensor key_mask = at::ones({2, 9}, at::kBool);
  key_mask[1].slice(0, 0, 3).fill_(false);
  for (const std::int64_t queries : {1, 4, 9}) {
    const at::Tensor q = at::randn({2, queries, kHeads, 8}, random);
    for (const at::Tensor& mask : {at::Tensor(), causal_mask(key_mask, queries)}) {
      const at::Tensor want = expanded_attention(q, k, v, mask, 0.3);
      for (const std::int64_t at_once : {1, 2, 4, 6}) {
        std::int64_t most = 0, made = 0;
        const auto make = [&](const KeyHeads& heads) {
          most = std::max(most, heads.count);
          made += heads.count;
          return std::pair{k.narrow(2, heads.first, heads.count),
                           v.narrow(2, heads.first, heads.count)};
        };
        const at::Tensor got = attention_by_heads(q, kKeyHeads, at_once, make, mask, 0.3);
        EXPECT_TRUE(close(got, want, {1e-6, 0})) << queries << " queries, " << at_once;
        EXPECT_EQ(most, at_once);
        EXPECT_EQ(made, kKeyHeads);
      }
    }
  }
}

}  // namespace
}  // namespace vmla::test
