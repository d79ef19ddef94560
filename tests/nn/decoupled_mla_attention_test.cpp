// Factors by modality against MlaAttention: each modality alone is a joint layer, and a mixture is
// a joint layer over both modalities' inputs side by side. And the invariants of every attention.
#include "nn/decoupled_mla_attention.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "nn/attention_invariants.h"
#include "nn/mask.h"
#include "nn/mla_attention.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

using test::close;
using test::first_positions;
using test::kHeadDim;

constexpr std::int64_t kHidden = 48, kTokens = 19;
constexpr test::Tolerance kTight{2e-5, 1e-5};

struct Geometry {
  std::int64_t heads, kv_heads, rope_dim, latent;
  bool bias;
};

MlaShape shape_of(const Geometry& g, bool decoupled = true) {
  MlaShape shape;
  shape.attention = {kHidden, g.heads, g.kv_heads, kHeadDim, g.bias, g.bias};
  shape.rope_dim = g.rope_dim;
  shape.latent_dim = g.latent;
  shape.decoupled = decoupled;
  return shape;
}

std::map<std::string, at::Tensor*> weights_of(Attention& attention) {
  ParameterList parameters;
  attention.collect("a", parameters);
  std::map<std::string, at::Tensor*> out;
  for (const auto& p : parameters) out[p.name.substr(2)] = p.tensor;
  return out;
}

// Kept dims that differ from head to head.
at::Tensor rope_dims_of(const Geometry& g) {
  std::vector<at::Tensor> rows;
  for (std::int64_t head = 0; head < g.kv_heads; ++head) {
    const at::Tensor first =
        std::get<0>((at::arange(g.rope_dim / 2, at::kLong) * 5 + head).remainder(6).sort());
    rows.push_back(at::cat({first, first + kHeadDim / 2}));
  }
  return at::stack(rows);
}

std::vector<std::int64_t> size_of(const std::string& name, const Geometry& g) {
  const std::int64_t keys = g.kv_heads * (kHeadDim - g.rope_dim), values = g.kv_heads * kHeadDim;
  const std::string part = name.substr(0, name.rfind('.'));
  const std::string last = part.substr(part.rfind('.') + 1);
  const std::map<std::string, std::vector<std::int64_t>> sizes{
      {"q_proj", {g.heads * kHeadDim, kHidden}},
      {"k_r_proj", {g.kv_heads * g.rope_dim, kHidden}},
      {"down_kv", {g.latent, kHidden}},
      {"up_k", {keys, g.latent}},
      {"up_v", {values, g.latent}},
      {"o_proj", {kHidden, g.heads * kHeadDim}}};
  const auto& size = sizes.at(last);
  return name.ends_with(".bias") ? std::vector<std::int64_t>{size[0]} : size;
}

std::unique_ptr<DecoupledMlaAttention> make_attention(const Geometry& g) {
  at::manual_seed(7);
  auto attention = std::make_unique<DecoupledMlaAttention>(shape_of(g), rope_dims_of(g));
  for (const auto& [name, tensor] : weights_of(*attention))
    *tensor = at::randn(size_of(name, g)) * 0.3;
  return attention;
}

AttentionContext context_for(const at::Tensor& positions,
                             const at::Tensor& image,
                             KvCache* cache = nullptr,
                             AttentionPath path = AttentionPath::Expanded,
                             CacheMode mode = CacheMode::Native) {
  AttentionContext context = test::context_for(positions, cache, path, mode);
  context.image = image;
  return context;
}

class DecoupledMla : public ::testing::TestWithParam<Geometry> {
 protected:
  void SetUp() override {
    attention_ = make_attention(GetParam());
    hidden_ = at::randn({2, kTokens, kHidden});
    // Images in the middle of one row, at both ends of the other.
    image_ = at::zeros({2, kTokens}, at::kBool);
    image_[0].slice(0, 4, 11).fill_(true);
    image_[1].slice(0, 0, 6).fill_(true);
    image_[1].slice(0, 15).fill_(true);
    reference_ = attention_->forward(hidden_, context_for(first_positions(kTokens), image_));
  }
  at::Tensor forward_in_steps(const std::vector<std::int64_t>& pieces,
                              AttentionPath path,
                              CacheMode mode) const {
    return test::forward_in_steps(*attention_, hidden_, image_, pieces, path, mode);
  }
  // The joint layer with one modality's factors.
  at::Tensor joint_output(const std::string& factors) {
    MlaAttention joint(shape_of(GetParam(), /*decoupled=*/false), rope_dims_of(GetParam()));
    const auto source = weights_of(*attention_);
    for (const auto& [name, tensor] : weights_of(joint)) {
      const bool shared = !name.starts_with("kv_proj.");
      *tensor = *source.at(shared ? name : factors + name.substr(std::string("kv_proj").size()));
    }
    return joint.forward(hidden_, context_for(first_positions(kTokens), {}));
  }

  at::NoGradGuard no_grad_;
  std::unique_ptr<DecoupledMlaAttention> attention_;
  at::Tensor hidden_, image_, reference_;
};

TEST_P(DecoupledMla, OneModalityAloneIsAJointLayer) {
  const auto with = [&](const at::Tensor& image) {
    return attention_->forward(hidden_, context_for(first_positions(kTokens), image));
  };
  const at::Tensor text = joint_output("kv_proj_text"), image = joint_output("kv_proj_img");
  EXPECT_TRUE(close(with({}), text, kTight));
  EXPECT_TRUE(close(with(at::zeros_like(image_)), text, kTight));
  EXPECT_TRUE(close(with(at::ones_like(image_)), image, kTight));
  EXPECT_FALSE(close(image, text, kTight));  // the factors differ
  EXPECT_FALSE(close(reference_, text, kTight));
}

// x -> [x of image tokens; x of text tokens], factors side by side: a joint layer of twice the
// width.
TEST_P(DecoupledMla, AMixtureIsAJointLayerOverBothInputs) {
  const Geometry g = GetParam();
  MlaShape shape = shape_of(g, /*decoupled=*/false);
  shape.attention.hidden = 2 * kHidden;
  shape.latent_dim = 2 * g.latent;
  MlaAttention joint(shape, rope_dims_of(g));
  const auto source = weights_of(*attention_);
  if (g.bias) {  // a joint layer has one bias
    for (const char* up : {".up_k.bias", ".up_v.bias"})
      *source.at(std::string("kv_proj_img") + up) = *source.at(std::string("kv_proj_text") + up);
  }
  const auto of = [&](const char* modality, const std::string& name) {
    return *source.at("kv_proj_" + std::string(modality) + name);
  };
  for (const auto& [name, tensor] : weights_of(joint)) {
    if (name == "kv_proj.down_kv.weight") {
      *tensor = at::block_diag({of("img", ".down_kv.weight"), of("text", ".down_kv.weight")});
    } else if (name.starts_with("kv_proj.")) {
      const std::string end = name.substr(std::string("kv_proj").size());
      *tensor =
          name.ends_with("bias") ? of("text", end) : at::cat({of("img", end), of("text", end)}, 1);
    } else if (name == "q_proj.weight" || name == "k_r_proj.weight") {
      *tensor = at::cat({*source.at(name), *source.at(name)}, 1);
    } else {
      *tensor = *source.at(name);
    }
  }
  const at::Tensor is_image = image_.unsqueeze(-1);
  const at::Tensor both = at::cat({hidden_ * is_image, hidden_ * is_image.logical_not()}, -1);
  const at::Tensor want = joint.forward(both, context_for(first_positions(kTokens), {}));
  for (const auto path : {AttentionPath::Expanded, AttentionPath::Absorbed}) {
    const auto context = context_for(first_positions(kTokens), image_, nullptr, path);
    EXPECT_TRUE(close(attention_->forward(hidden_, context), want, kTight));
  }
}

TEST_P(DecoupledMla, AbsorbedEqualsExpanded) {
  const auto context =
      context_for(first_positions(kTokens), image_, nullptr, AttentionPath::Absorbed);
  EXPECT_TRUE(close(attention_->forward(hidden_, context), reference_, kTight));
  const auto weights = weights_of(*attention_);
  for (const char* name : {"kv_proj_img.up_v.weight", "kv_proj_text.up_v.weight"}) {  // it can see
    weights.at(name)->mul_(1.001);
    EXPECT_FALSE(close(attention_->forward(hidden_, context), reference_, kTight)) << name;
    weights.at(name)->div_(1.001);
  }
}

TEST_P(DecoupledMla, StepsThroughTheCacheEqualOneForward) {
  test::expect_steps_equal_one_forward(
      [this](const auto& pieces, AttentionPath path, CacheMode mode) {
        return forward_in_steps(pieces, path, mode);
      },
      reference_,
      kTight);
}

TEST_P(DecoupledMla, PaddedRowEqualsRowAlone) {
  const auto alone = attention_->forward(
      hidden_.slice(0, 1, 2).slice(1, 5),
      context_for(first_positions(kTokens - 5), image_.slice(0, 1, 2).slice(1, 5)));
  for (const auto path : {AttentionPath::Expanded, AttentionPath::Absorbed}) {
    at::Tensor mask = at::ones({2, kTokens}, at::kBool);
    mask[1].slice(0, 0, 5).fill_(false);  // the second row starts with five tokens of padding
    AttentionContext context = context_for(positions_from_mask(mask), image_, nullptr, path);
    context.mask = causal_mask(mask, kTokens);
    const at::Tensor got = attention_->forward(hidden_, context);
    EXPECT_TRUE(close(got[0], reference_[0], kTight));
    EXPECT_TRUE(close(got[1].slice(0, 5), alone[0], kTight));
    EXPECT_TRUE(got.isfinite().all().item<bool>());
  }
}

// Also where a batch has no image: every parameter has a gradient, for ranks that average them.
TEST_P(DecoupledMla, ExpandedPathIsDifferentiable) {
  const at::AutoGradMode grad(true);
  for (const auto& [name, tensor] : weights_of(*attention_)) tensor->set_requires_grad(true);
  for (const bool with_image : {true, false}) {
    const at::Tensor image = with_image ? image_ : at::zeros_like(image_);
    attention_->forward(hidden_, context_for(first_positions(kTokens), image))
        .square()
        .sum()
        .backward();
    for (const auto& [name, tensor] : weights_of(*attention_)) {
      ASSERT_TRUE(tensor->grad().defined()) << name;
      const double largest = tensor->numel() > 0 ? tensor->grad().abs().max().item<double>() : 1.0;
      if (!with_image && name.starts_with("kv_proj_img")) {
        EXPECT_TRUE(largest == 0.0 || tensor->numel() == 0) << name;
      } else if (with_image ||
                 !name.ends_with("up_k.bias")) {  // one bias alone the softmax cancels
        EXPECT_GT(largest, 1e-3) << name;
      }
      tensor->mutable_grad().reset();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Geometries,
    DecoupledMla,
    ::testing::Values(Geometry{4, 4, 4, 10, false},
                      Geometry{4, 4, 6, 5, true},
                      Geometry{6, 2, 4, 10, true},
                      Geometry{6, 3, 2, 1, false},
                      Geometry{4, 2, 12, 7, false},
                      Geometry{1, 1, 2, 7, true}),
    [](const auto& tested) {
      const Geometry& g = tested.param;
      return fmt::format(
          "h{}k{}r{}c{}{}", g.heads, g.kv_heads, g.rope_dim, g.latent, g.bias ? "bias" : "");
    });

TEST(DecoupledCacheLayout, TheFlagTakesAByteInEveryFormat) {
  const CacheLayout layout = mla_cache_layout(shape_of({6, 2, 4, 10, false}), CacheMode::Native);
  EXPECT_EQ(layout.name(), "k_rope+latent+modality");
  EXPECT_EQ(layout.elements_per_token(), 2 * 4 + 10 + 1);
  const auto bytes = [&](CacheDtype dtype) {
    return bytes_per_token(with_format({layout}, {dtype, dtype}, CacheDtype::BFloat16));
  };
  EXPECT_EQ(bytes(CacheDtype::Auto), 2 * (2 * 4 + 10) + 1);
  EXPECT_EQ(bytes(CacheDtype::Float32), 4 * (2 * 4 + 10) + 1);
  EXPECT_EQ(bytes(CacheDtype::Int8), (8 + 2 * 2) + (10 + 2) + 1);
  EXPECT_EQ(with_format({layout}, {}, CacheDtype::BFloat16)[0].stored_as(), "bf16");
  EXPECT_EQ(mla_cache_layout(shape_of({6, 2, 4, 10, false}), CacheMode::Expanded).name(), "k+v");
  ContiguousCache cache({layout}, 3, at::kFloat, at::kCPU);
  cache.append(0,
               {at::zeros({3, 5, 2, 4}), at::zeros({3, 5, 10}), at::zeros({3, 5, 1}, at::kBool)});
  cache.advance(5);
  EXPECT_EQ(cache.bytes(), 3 * 5 * (4 * 18 + 1));
}

}  // namespace
}  // namespace vmla
