// The layout "shared" needs no oracle but itself and MHA: absorbed = expanded, cached steps = one
// forward, a row of a batch = the row alone, unused cache rows are never read, and with every
// component and a full latent it is the attention it was made from.
#include "nn/shared_mla_attention.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "nn/attention_invariants.h"
#include "nn/mask.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

using test::close;
using test::context_for;
using test::first_positions;
using test::kHeadDim;

constexpr std::int64_t kHidden = 48, kTokens = 19;
constexpr test::Tolerance kTight{2e-5, 1e-5};

struct Geometry {
  std::int64_t heads, kv_heads, components, latent;
  bool bias;
};

SharedMlaShape shape_of(const Geometry& g) {
  return {{kHidden, g.heads, g.kv_heads, kHeadDim, g.bias, g.bias}, g.components, g.latent};
}

std::map<std::string, at::Tensor*> weights_of(Attention& attention) {
  ParameterList parameters;
  attention.collect("a", parameters);
  std::map<std::string, at::Tensor*> out;
  for (const auto& p : parameters) out[p.name.substr(2)] = p.tensor;
  return out;
}

std::unique_ptr<SharedMlaAttention> make_attention(const Geometry& g) {
  at::manual_seed(7);
  // Frequencies in no order, some of them twice.
  const at::Tensor frequencies = (at::arange(g.components, at::kLong) * 5).remainder(kHeadDim / 2);
  auto attention = std::make_unique<SharedMlaAttention>(shape_of(g), frequencies);
  const std::map<std::string, std::vector<std::int64_t>> shapes{
      {"q_proj.weight", {g.heads * kHeadDim, kHidden}},
      {"q_proj.bias", {g.heads * kHeadDim}},
      {"q_mix.weight", {g.heads, g.components, 2}},
      {"k_r_proj.weight", {2 * g.components, kHidden}},
      {"k_r_proj.bias", {2 * g.components}},
      {"kv_proj.down_kv.weight", {g.latent, kHidden}},
      {"kv_proj.up_k.weight", {g.kv_heads * kHeadDim, g.latent}},
      {"kv_proj.up_v.weight", {g.kv_heads * kHeadDim, g.latent}},
      {"kv_proj.up_v.bias", {g.kv_heads * kHeadDim}},
      {"o_proj.weight", {kHidden, g.heads * kHeadDim}},
      {"o_proj.bias", {kHidden}}};
  for (const auto& [name, tensor] : weights_of(*attention))
    *tensor = at::randn(shapes.at(name)) * 0.3;
  return attention;
}

class SharedMlaInvariants : public ::testing::TestWithParam<Geometry> {
 protected:
  void SetUp() override {
    attention_ = make_attention(GetParam());
    hidden_ = at::randn({2, kTokens, kHidden});
    reference_ = attention_->forward(hidden_, context_for(first_positions(kTokens)));
  }
  at::Tensor forward_in_steps(const std::vector<std::int64_t>& pieces,
                              AttentionPath path,
                              CacheMode mode) const {
    return test::forward_in_steps(*attention_, hidden_, {}, pieces, path, mode);
  }
  at::NoGradGuard no_grad_;
  std::unique_ptr<SharedMlaAttention> attention_;
  at::Tensor hidden_, reference_;
};

TEST_P(SharedMlaInvariants, AbsorbedEqualsExpanded) {
  const auto context = context_for(first_positions(kTokens), nullptr, AttentionPath::Absorbed);
  EXPECT_TRUE(close(attention_->forward(hidden_, context), reference_, kTight));
  for (const char* name : {"kv_proj.up_k.weight", "q_mix.weight"}) {  // the tolerance can see
    at::Tensor& weight = *weights_of(*attention_).at(name);
    weight.mul_(1.001);
    EXPECT_FALSE(close(attention_->forward(hidden_, context), reference_, kTight)) << name;
    weight.div_(1.001);
  }
}

TEST_P(SharedMlaInvariants, StepsThroughTheCacheEqualOneForward) {
  test::expect_steps_equal_one_forward(
      [this](const auto& pieces, AttentionPath path, CacheMode mode) {
        return forward_in_steps(pieces, path, mode);
      },
      reference_,
      kTight);
}

TEST_P(SharedMlaInvariants, PaddedRowEqualsRowAlone) {
  const auto alone = attention_->forward(hidden_.slice(0, 1, 2).slice(1, 5),
                                         context_for(first_positions(kTokens - 5)));
  for (const auto path : {AttentionPath::Expanded, AttentionPath::Absorbed}) {
    at::Tensor mask = at::ones({2, kTokens}, at::kBool);
    mask[1].slice(0, 0, 5).fill_(false);  // the second row starts with five tokens of padding
    AttentionContext context = context_for(positions_from_mask(mask), nullptr, path);
    context.mask = causal_mask(mask, kTokens);
    const at::Tensor got = attention_->forward(hidden_, context);
    EXPECT_TRUE(close(got[0], reference_[0], kTight));
    EXPECT_TRUE(close(got[1].slice(0, 5), alone[0], kTight));
    EXPECT_TRUE(got.isfinite().all().item<bool>());
  }
}

TEST_P(SharedMlaInvariants, ExpandedPathIsDifferentiable) {
  const at::AutoGradMode grad(true);
  for (const auto& [name, tensor] : weights_of(*attention_)) tensor->set_requires_grad(true);
  attention_->forward(hidden_, context_for(first_positions(kTokens))).square().sum().backward();
  for (const auto& [name, tensor] : weights_of(*attention_)) {
    ASSERT_TRUE(tensor->grad().defined()) << name;
    EXPECT_GT(tensor->grad().abs().max().item<double>(), 1e-3) << name;
  }
}

// n = every pair of every KV head with w = 1 in the group, C = K*D: the attention itself.
TEST_P(SharedMlaInvariants, FullBudgetIsTheSourceAttention) {
  const Geometry g = GetParam();
  const std::int64_t half = kHeadDim / 2, group = g.heads / g.kv_heads,
                     width = g.kv_heads * kHeadDim;
  const AttentionShape shape = shape_of(g).attention;
  MhaAttention mha(shape);
  const auto source = weights_of(mha);
  for (const auto& [name, tensor] : source) {
    const bool is_query = name[0] == 'q' || name[0] == 'o';
    const std::int64_t rows = name[0] == 'o' ? kHidden : is_query ? g.heads * kHeadDim : width;
    const std::int64_t columns = name[0] == 'o' ? g.heads * kHeadDim : kHidden;
    *tensor = name.ends_with("bias") ? at::randn({rows}) * 0.3 : at::randn({rows, columns}) * 0.3;
  }
  SharedMlaAttention full({shape, g.kv_heads * half, width},
                          at::arange(half, at::kLong).repeat({g.kv_heads}));
  // [K*D, …] -> real parts of all heads, then imaginary parts.
  const auto by_part = [&](const at::Tensor& rows) {
    return rows.unflatten(0, {g.kv_heads, 2, half}).transpose(0, 1).flatten(0, 2);
  };
  const auto target = weights_of(full);
  for (const char* name : {"q_proj", "o_proj"}) {
    *target.at(std::string(name) + ".weight") = *source.at(std::string(name) + ".weight");
    if (g.bias) *target.at(std::string(name) + ".bias") = *source.at(std::string(name) + ".bias");
  }
  at::Tensor mix = at::zeros({g.kv_heads, group, g.kv_heads, half, 2});
  for (std::int64_t k = 0; k < g.kv_heads; ++k) mix[k].select(1, k).select(-1, 0).fill_(1.0);
  *target.at("q_mix.weight") = mix.view({g.heads, g.kv_heads * half, 2});
  *target.at("k_r_proj.weight") = by_part(*source.at("k_proj.weight"));
  *target.at("kv_proj.down_kv.weight") = *source.at("v_proj.weight");
  *target.at("kv_proj.up_k.weight") = at::zeros({width, width});
  *target.at("kv_proj.up_v.weight") = at::eye(width);
  if (g.bias) {
    *target.at("k_r_proj.bias") = by_part(*source.at("k_proj.bias"));
    *target.at("kv_proj.up_v.bias") = *source.at("v_proj.bias");
  }
  const auto context = context_for(first_positions(kTokens) + 3);
  EXPECT_TRUE(close(full.forward(hidden_, context), mha.forward(hidden_, context), kTight));
}

INSTANTIATE_TEST_SUITE_P(
    Geometries,
    SharedMlaInvariants,
    ::testing::Values(Geometry{4, 4, 3, 10, false},
                      Geometry{4, 4, 9, 5, true},
                      Geometry{6, 2, 4, 10, true},
                      Geometry{6, 3, 1, 1, false},
                      Geometry{1, 1, 2, 7, true}),
    [](const auto& tested) {
      const Geometry& g = tested.param;
      return fmt::format(
          "h{}k{}n{}c{}{}", g.heads, g.kv_heads, g.components, g.latent, g.bias ? "bias" : "");
    });

// So many components over so many tokens that each head gets a rotated key of its own; the last
// ones because flash attention would not take keys as wide as they are.
TEST(SharedMlaKeysByHead, GiveTheSameOutputsAndGradients) {
  for (const Geometry& g : {Geometry{4, 4, 16, 10, false},
                            Geometry{6, 2, 18, 10, true},
                            Geometry{2, 2, 124, 8, true}}) {
    const std::int64_t tokens = g.components > 100 ? kTokens : 60;
    const auto attention = make_attention(g);
    const at::Tensor hidden = at::randn({2, tokens, kHidden});
    for (const auto& [name, tensor] : weights_of(*attention)) tensor->set_requires_grad(true);
    std::map<AttentionPath, at::Tensor> outputs;
    std::map<AttentionPath, std::map<std::string, at::Tensor>> gradients;
    for (const AttentionPath path : {AttentionPath::Expanded, AttentionPath::Absorbed}) {
      const at::Tensor out =
          attention->forward(hidden, context_for(first_positions(tokens), nullptr, path));
      out.square().mean().backward();
      outputs[path] = out.detach();
      for (const auto& [name, tensor] : weights_of(*attention)) {
        gradients[path][name] = tensor->grad();
        tensor->mutable_grad() = at::Tensor();
      }
    }
    EXPECT_TRUE(close(outputs[AttentionPath::Expanded], outputs[AttentionPath::Absorbed], kTight));
    for (const auto& [name, gradient] : gradients[AttentionPath::Absorbed])
      EXPECT_TRUE(close(gradients[AttentionPath::Expanded].at(name), gradient, kTight)) << name;
    const at::NoGradGuard no_grad;
    weights_of(*attention).at("q_mix.weight")->mul_(1.001);  // the tolerance can see
    EXPECT_FALSE(close(attention->forward(hidden, context_for(first_positions(tokens))),
                       outputs[AttentionPath::Absorbed],
                       kTight));
  }
}

TEST(SharedMlaCacheLayout, PlanesAndWidths) {
  const SharedMlaShape shape = shape_of({6, 2, 5, 10, false});
  const CacheLayout native = shared_mla_cache_layout(shape, CacheMode::Native);
  EXPECT_EQ(native.name(), "k_rope+latent");
  EXPECT_EQ(native.elements_per_token(), 2 * 5 + 10);
  EXPECT_EQ(native.planes[0].shape, (std::vector<std::int64_t>{1, 10}));
  EXPECT_EQ(shared_mla_cache_layout(shape, CacheMode::Expanded).elements_per_token(),
            2 * (12 + 10) + 2 * 12);
}

}  // namespace
}  // namespace vmla
