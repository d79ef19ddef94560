// Sessions of a model with factors by modality: whatever way tokens come, each keeps its own.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "engine/generator.h"
#include "engine/session.h"
#include "model/latent_basis.h"
#include "support/expect_close.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

TinyShape decoupled_shape(std::int64_t kv_heads = 4, bool bias = false) {
  TinyShape shape;
  shape.mla = SvdMethod::Joint;
  shape.decoupled = true;
  shape.kv_heads = kv_heads;
  shape.qkv_bias = bias;
  shape.rope_version = "2-norm";
  return shape;
}

class DecoupledSession : public ::testing::TestWithParam<TinyShape> {
 protected:
  static constexpr std::int64_t kImageTokens = 4, kPrompt = 9, kMore = 5;
  void SetUp() override {
    shape_ = GetParam();
    model_ = make_tiny_model(shape_);
    // <2 tokens> image <3 tokens>, then text.
    ids_ = tiny_ids(shape_, 2, kPrompt + kMore);
    ids_.slice(1, 2, 2 + kImageTokens).fill_(model_->config().image_token_id);
    pixels_ = at::randn({2, 3, 28, 28}, at::detail::createCPUGenerator(4));
    features_ = model_->encode_images(pixels_);
    want_ = model_->forward(ids_, {}, pixels_);
  }
  at::Tensor embed(const at::Tensor& ids, const at::Tensor& features) const {
    return model_->embed(ids, features);
  }
  at::Tensor prefill(Session& session, const at::Tensor& ids, const at::Tensor& mask = {}) const {
    return session.prefill(embed(ids, features_), mask, model_->image_mask(ids));
  }

  c10::InferenceMode guard_;
  TinyShape shape_;
  std::unique_ptr<Vlm> model_;
  at::Tensor ids_, pixels_, features_, want_;
  static constexpr Tolerance kTolerance{2e-5, 0};
};

TEST_P(DecoupledSession, StepsEqualOneForward) {
  for (const std::int64_t chunk : {0, 1, 4}) {
    for (const CacheMode mode : {CacheMode::Native, CacheMode::Expanded}) {
      SessionOptions options;
      options.prefill_chunk = chunk;
      options.cache_mode = mode;
      Session session(*model_, 2, options);
      const at::Tensor prompt = ids_.slice(1, 0, kPrompt);
      EXPECT_TRUE(close(prefill(session, prompt), want_.select(1, kPrompt - 1), kTolerance));
      for (std::int64_t i = kPrompt; i < ids_.size(1); ++i) {
        session.cache().poison_unused();
        EXPECT_TRUE(close(session.step(ids_.select(1, i)), want_.select(1, i), kTolerance)) << i;
      }
      EXPECT_FALSE(session.steps_statically());
      EXPECT_EQ(session.cache().bytes(),
                2 * ids_.size(1) * bytes_per_token(model_->cache_layouts(mode, {})));
    }
  }
}

// The planted error: a session that is not told takes image tokens for text.
TEST_P(DecoupledSession, TheMaskMatters) {
  Session session(*model_, 2);
  const at::Tensor prompt = ids_.slice(1, 0, kPrompt);
  EXPECT_FALSE(
      close(session.prefill(embed(prompt, features_)), want_.select(1, kPrompt - 1), {1e-2, 0}));
}

TEST_P(DecoupledSession, PaddedRowsEqualEachAlone) {
  const std::vector<std::int64_t> lengths{9, 7};
  for (const bool left : {true, false}) {
    at::Tensor padded = at::full({2, 9}, 3, at::kLong), mask = at::zeros({2, 9}, at::kBool);
    for (std::int64_t row = 0; row < 2; ++row) {
      const std::int64_t n = lengths[static_cast<std::size_t>(row)], begin = left ? 9 - n : 0;
      padded[row].narrow(0, begin, n).copy_(ids_[row].narrow(0, 0, n));
      mask[row].narrow(0, begin, n).fill_(true);
    }
    Session session(*model_, 2);
    std::vector<at::Tensor> got{prefill(session, padded, mask)};
    for (std::int64_t i = 0; i < 4; ++i)
      got.push_back(session.step(at::stack({ids_[0][lengths[0] + i], ids_[1][lengths[1] + i]})));
    for (std::int64_t row = 0; row < 2; ++row) {
      const std::int64_t n = lengths[static_cast<std::size_t>(row)];
      for (std::int64_t i = 0; i <= 4; ++i) {
        EXPECT_TRUE(close(got[static_cast<std::size_t>(i)][row], want_[row][n - 1 + i], kTolerance))
            << (left ? "left" : "right") << " row " << row << " token " << i;
      }
    }
  }
}

// An image's prefix serves several questions, in another order, and is taken back to.
TEST_P(DecoupledSession, RowsTakeTheirModalitiesAlong) {
  Session session(*model_, 2);
  prefill(session, ids_.slice(1, 0, 6));
  session.select_rows(at::tensor({1, 0, 1}, at::kLong));
  const at::Tensor more = ids_.slice(1, 6, kPrompt).index_select(0, at::tensor({1, 0, 1}));
  const at::Tensor want = want_.select(1, kPrompt - 1).index_select(0, at::tensor({1, 0, 1}));
  EXPECT_TRUE(close(session.prefill(model_->embed(more, {})), want, kTolerance));
  session.truncate(6);
  EXPECT_TRUE(close(session.prefill(model_->embed(more, {})), want, kTolerance));
}

TEST_P(DecoupledSession, QuantisedCachesComeNear) {
  const auto run = [&](CacheDtype dtype) {
    SessionOptions options;
    options.cache_format = {dtype, dtype == CacheDtype::Int4 ? CacheDtype::Int8 : dtype};
    Session session(*model_, 2, options);
    prefill(session, ids_.slice(1, 0, kPrompt));
    std::vector<at::Tensor> got;
    for (std::int64_t i = kPrompt; i < ids_.size(1); ++i)
      got.push_back(session.step(ids_.select(1, i)));
    return (at::stack(got, 1) - want_.slice(1, kPrompt)).square().mean().sqrt().item<double>();
  };
  EXPECT_LT(run(CacheDtype::Float32), 2e-5);
  const double int8 = run(CacheDtype::Int8), int4 = run(CacheDtype::Int4);
  EXPECT_GT(int8, 1e-4);
  EXPECT_LT(int8, 0.04);
  EXPECT_LT(int4, 0.5);
}

TEST_P(DecoupledSession, AnotherBasisOfTheLatentsChangesNothing) {
  const auto sum = [&] {
    double out = 0.0;
    for (const NamedParameter& p : model_->parameters()) {
      if (p.name.find(".down_kv") != std::string::npos) out += p.tensor->sum().item<double>();
    }
    return out;
  };
  const double before = sum();
  spread_latents(*model_);
  EXPECT_GT(std::abs(sum() - before), 1e-3);
  EXPECT_TRUE(close(model_->forward(ids_, {}, pixels_), want_, {1e-4, 0}));
}

// A generated image token is text, and a batch of prompts with and without images is each alone.
TEST_P(DecoupledSession, GeneratesEachPromptAsAlone) {
  const Generator generator(*model_, nullptr, {});
  const auto input = [&](std::int64_t row, std::int64_t begin, bool with_image) {
    ModelInput out;
    const at::Tensor ids = ids_[row].slice(0, begin, kPrompt).contiguous();
    const auto* first = ids.const_data_ptr<std::int64_t>();
    out.input_ids.assign(first, first + ids.size(0));
    if (with_image) out.pixel_values = pixels_[row].unsqueeze(0);
    return out;
  };
  const std::vector<ModelInput> prompts{input(0, 0, true), input(1, 6, false), input(1, 1, true)};
  GenerationOptions options;
  options.max_new_tokens = 6;
  options.ignore_eos = true;
  const auto together = generator.generate(prompts, options).completions;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(together[i].output_ids,
              generator.generate({prompts[i]}, options).completions[0].output_ids);
  Session told(*model_, 2), untold(*model_, 2);
  const at::Tensor image_id = at::full({2}, model_->config().image_token_id, at::kLong);
  prefill(told, ids_.slice(1, 0, kPrompt));
  prefill(untold, ids_.slice(1, 0, kPrompt));
  EXPECT_TRUE(close(told.step(image_id),
                    untold.prefill(model_->decoder().embed(image_id.unsqueeze(1))),
                    kTolerance));
}

INSTANTIATE_TEST_SUITE_P(Models,
                         DecoupledSession,
                         ::testing::Values(decoupled_shape(), decoupled_shape(2, true)),
                         [](const auto& tested) {
                           return tested.param.qkv_bias ? "gqa_bias" : "mha";
                         });

}  // namespace
}  // namespace vmla::test
