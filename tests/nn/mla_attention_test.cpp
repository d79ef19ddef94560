// Invariants of latent attention that need no oracle: absorbed = expanded, cached steps = one
// forward, a row of a batch = the row alone, unused cache rows are never read, and the bytes are
// the formula's.
#include "nn/mla_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nn/attention_invariants.h"
#include "nn/mask.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

using test::close;
using test::context_for;
using test::kHeadDim;

constexpr std::int64_t kHidden = 48, kRopeDim = 4, kLatent = 10;

struct Geometry {
  SvdMethod method;
  std::int64_t heads, kv_heads, rope_dim;
  bool bias;
};

MlaShape shape_of(const Geometry& g) {
  MlaShape shape;
  shape.attention = {kHidden, g.heads, g.kv_heads, kHeadDim, g.bias, false};
  shape.method = g.method;
  shape.rope_dim = g.rope_dim;
  shape.latent_dim = kLatent;
  return shape;
}

// A different selection in every head, so that a mix-up of heads shows.
at::Tensor rope_dims_of(const Geometry& g) {
  at::Tensor dims = at::empty({g.kv_heads, g.rope_dim}, at::kLong);
  const std::int64_t half = kHeadDim / 2, pairs = g.rope_dim / 2;
  for (std::int64_t h = 0; h < g.kv_heads; ++h) {
    const at::Tensor first = std::get<0>((at::arange(pairs, at::kLong) + h).remainder(half).sort());
    dims[h] = at::cat({first, first + half});
  }
  return dims;
}

std::int64_t in_features(const MlaShape& s, const std::string& name) {
  if (name.find("up_k") != std::string::npos) return s.low_rank_key() ? kLatent : kHidden;
  if (name.find("up_v") != std::string::npos) return s.low_rank_value() ? kLatent : kHidden;
  return name.find("o_proj") != std::string::npos ? s.attention.heads * kHeadDim : kHidden;
}

std::int64_t out_features(const MlaShape& s, const std::string& name) {
  const auto& a = s.attention;
  if (name.find("q_proj") != std::string::npos) return a.heads * kHeadDim;
  if (name.find("k_r_proj") != std::string::npos) return a.kv_heads * s.rope_dim;
  if (name.find("down") != std::string::npos) return kLatent;
  if (name.find("up_k") != std::string::npos) return a.kv_heads * s.nope_dim();
  return name.find("up_v") != std::string::npos ? a.kv_heads * kHeadDim : kHidden;
}

std::unique_ptr<MlaAttention> make_attention(const Geometry& g) {
  at::manual_seed(7);
  const MlaShape shape = shape_of(g);
  auto attention = std::make_unique<MlaAttention>(shape, rope_dims_of(g));
  ParameterList parameters;
  attention->collect("a", parameters);
  for (const auto& p : parameters) {
    const std::int64_t out = out_features(shape, p.name);
    if (p.name.ends_with("bias")) {
      *p.tensor = at::randn({out});
    } else {  // weights large enough that attention is peaked
      *p.tensor = at::randn({out, in_features(shape, p.name)}) * 0.3;
    }
  }
  return attention;
}

class MlaInvariants : public ::testing::TestWithParam<Geometry> {
 protected:
  void SetUp() override {
    attention_ = make_attention(GetParam());
    hidden_ = at::randn({2, kTokens, kHidden});
    reference_ = forward_whole(AttentionPath::Expanded);
  }
  at::Tensor forward_whole(AttentionPath path) const {
    const auto positions = at::arange(kTokens, at::kLong).unsqueeze(0);
    return attention_->forward(hidden_, context_for(positions, nullptr, path, CacheMode::Native));
  }
  at::Tensor forward_in_steps(const std::vector<std::int64_t>& pieces,
                              AttentionPath path,
                              CacheMode mode) const {
    const auto check_bytes = [&](const ContiguousCache& cache, std::int64_t tokens) {
      EXPECT_EQ(cache.bytes(),
                2 * tokens * attention_->cache_layout(mode).elements_per_token() * 4);
    };
    return test::forward_in_steps(*attention_, hidden_, {}, pieces, path, mode, check_bytes);
  }
  static constexpr std::int64_t kTokens = 19;
  static constexpr test::Tolerance kTight{2e-5, 1e-5};
  at::NoGradGuard no_grad_;
  std::unique_ptr<MlaAttention> attention_;
  at::Tensor hidden_, reference_;
};

TEST_P(MlaInvariants, AbsorbedEqualsExpanded) {
  EXPECT_TRUE(close(forward_whole(AttentionPath::Absorbed), reference_, kTight));
}

TEST_P(MlaInvariants, StepsThroughTheCacheEqualOneForward) {
  test::expect_steps_equal_one_forward(
      [this](const auto& pieces, AttentionPath path, CacheMode mode) {
        return forward_in_steps(pieces, path, mode);
      },
      reference_,
      kTight);
}

TEST_P(MlaInvariants, PaddedRowEqualsRowAlone) {
  const auto alone =
      attention_->forward(hidden_.slice(0, 1, 2).slice(1, 5),
                          context_for(at::arange(kTokens - 5, at::kLong).unsqueeze(0),
                                      nullptr,
                                      AttentionPath::Expanded,
                                      CacheMode::Native));
  for (const auto path : {AttentionPath::Expanded, AttentionPath::Absorbed}) {
    at::Tensor mask = at::ones({2, kTokens}, at::kBool);
    mask[1].slice(0, 0, 5).fill_(false);  // the second row starts with five tokens of padding
    AttentionContext context =
        context_for(positions_from_mask(mask), nullptr, path, CacheMode::Native);
    context.mask = causal_mask(mask, kTokens);
    const at::Tensor got = attention_->forward(hidden_, context);
    EXPECT_TRUE(close(got[0], reference_[0], kTight));
    EXPECT_TRUE(close(got[1].slice(0, 5), alone[0], kTight));
    EXPECT_TRUE(got.isfinite().all().item<bool>());
  }
}

// 0.1 % in one factor is far outside the tolerance that the tests above use.
TEST_P(MlaInvariants, ToleranceSeesAPlantedError) {
  ParameterList parameters;
  attention_->collect("a", parameters);
  for (const auto& p : parameters) {
    if (p.name == "a.kv_proj.up_v.weight") p.tensor->mul_(1.001);
  }
  EXPECT_FALSE(close(forward_whole(AttentionPath::Absorbed), reference_, kTight));
}

TEST_P(MlaInvariants, ExpandedPathIsDifferentiable) {
  const at::AutoGradMode grad(true);
  ParameterList parameters;
  attention_->collect("a", parameters);
  for (const auto& p : parameters) p.tensor->set_requires_grad(true);
  forward_whole(AttentionPath::Expanded).square().sum().backward();
  for (const auto& p : parameters) {
    ASSERT_TRUE(p.tensor->grad().defined()) << p.name;
    // The softmax cancels up_k's bias (up to rounding); everything else gets a gradient.
    if (p.tensor->numel() > 0 && p.name != "a.kv_proj.up_k.bias") {
      EXPECT_GT(p.tensor->grad().abs().max().item<double>(), 1e-3) << p.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Geometries,
                         MlaInvariants,
                         ::testing::Values(Geometry{SvdMethod::Joint, 4, 4, kRopeDim, false},
                                           Geometry{SvdMethod::Split, 4, 4, kRopeDim, false},
                                           Geometry{SvdMethod::OnlyKey, 4, 4, kRopeDim, false},
                                           Geometry{SvdMethod::OnlyValue, 4, 4, kRopeDim, false},
                                           Geometry{SvdMethod::None, 4, 4, kRopeDim, false},
                                           Geometry{SvdMethod::Joint, 6, 2, kRopeDim, true},
                                           Geometry{SvdMethod::Split, 6, 2, kRopeDim, true},
                                           Geometry{SvdMethod::OnlyKey, 6, 3, kRopeDim, true},
                                           Geometry{SvdMethod::None, 6, 1, kRopeDim, true},
                                           Geometry{SvdMethod::Joint, 3, 3, kHeadDim, false},
                                           Geometry{SvdMethod::Joint, 1, 1, 2, true}),
                         [](const auto& tested) {
                           const Geometry& g = tested.param;
                           return svd_method_name(g.method) + "_h" + std::to_string(g.heads) + "k" +
                                  std::to_string(g.kv_heads) + "r" + std::to_string(g.rope_dim) +
                                  (g.bias ? "bias" : "");
                         });

TEST(MlaCacheLayout, PlanesOfEveryMethod) {
  const auto name = [](SvdMethod method, CacheMode mode) {
    return mla_cache_layout(shape_of({method, 4, 4, kRopeDim, false}), mode).name();
  };
  EXPECT_EQ(name(SvdMethod::Joint, CacheMode::Native), "k_rope+latent");
  EXPECT_EQ(name(SvdMethod::Split, CacheMode::Native), "k_rope+latent_k+latent_v");
  EXPECT_EQ(name(SvdMethod::OnlyKey, CacheMode::Native), "k_rope+latent_k+v");
  EXPECT_EQ(name(SvdMethod::OnlyValue, CacheMode::Native), "k_rope+k_nope+latent_v");
  EXPECT_EQ(name(SvdMethod::None, CacheMode::Native), "k_rope+k_nope+v");
  EXPECT_EQ(name(SvdMethod::Joint, CacheMode::Expanded), "k+v");
}

}  // namespace
}  // namespace vmla
