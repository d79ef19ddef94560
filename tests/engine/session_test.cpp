#include "engine/session.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "support/expect_close.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

struct Case {
  const char* name;
  TinyShape shape;
  CacheMode mode = CacheMode::Native;
};

TinyShape mla_shape(SvdMethod method, std::int64_t kv_heads = 4, bool bias = false) {
  TinyShape shape;
  shape.mla = method;
  shape.kv_heads = kv_heads;
  shape.qkv_bias = bias;
  shape.rope_version = "2-norm";
  return shape;
}

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

std::vector<Case> cases() {
  TinyShape gqa;
  gqa.kv_heads = 2;
  gqa.qkv_bias = true;
  return {{"mha", {}},
          {"gqa", gqa},
          {"joint", mla_shape(SvdMethod::Joint)},
          {"split", mla_shape(SvdMethod::Split)},
          {"only_key", mla_shape(SvdMethod::OnlyKey)},
          {"only_value", mla_shape(SvdMethod::OnlyValue)},
          {"none", mla_shape(SvdMethod::None)},
          {"joint_gqa_bias", mla_shape(SvdMethod::Joint, 2, true)},
          {"split_gqa_bias", mla_shape(SvdMethod::Split, 2, true)},
          {"joint_expanded_cache", mla_shape(SvdMethod::Joint), CacheMode::Expanded}};
}

class SessionCases : public ::testing::TestWithParam<Case> {
 protected:
  // fp32 logits of a whole forward without a cache [B, S, V].
  static at::Tensor reference(const Vlm& model,
                              const at::Tensor& ids,
                              const at::Tensor& mask = {}) {
    const c10::InferenceMode guard;
    return model.forward(ids, mask, {});
  }
  static SessionOptions options(std::int64_t chunk = 0) {
    SessionOptions out;
    out.cache_mode = GetParam().mode;
    out.prefill_chunk = chunk;
    return out;
  }
  static constexpr Tolerance kTolerance{2e-5, 0};
};

TEST_P(SessionCases, StepsEqualOneForward) {
  const auto model = make_tiny_model(GetParam().shape);
  const at::Tensor ids = tiny_ids(GetParam().shape, 2, 12);
  const at::Tensor want = reference(*model, ids);
  Session session(*model, 2, options());
  EXPECT_TRUE(
      close(session.prefill(model->embed(ids.slice(1, 0, 5), {})), want.select(1, 4), kTolerance));
  for (std::int64_t i = 5; i < 12; ++i) {
    const c10::InferenceMode guard;
    session.cache().poison_unused();
    EXPECT_TRUE(close(session.step(ids.select(1, i)), want.select(1, i), kTolerance)) << i;
  }
  EXPECT_EQ(session.length(), 12);
}

TEST_P(SessionCases, AFreshTokenMatters) {  // proves the tolerance above
  const auto model = make_tiny_model(GetParam().shape);
  at::Tensor ids = tiny_ids(GetParam().shape, 1, 6);
  const at::Tensor want = reference(*model, ids).select(1, 5);
  ids[0][2] = (ids[0][2].item<std::int64_t>() + 1) % 100 + 1;
  EXPECT_FALSE(close(reference(*model, ids).select(1, 5), want, kTolerance));
}

TEST_P(SessionCases, ChunksEqualOnePrefill) {
  const auto model = make_tiny_model(GetParam().shape);
  const at::Tensor ids = tiny_ids(GetParam().shape, 2, 11);
  const at::Tensor want = reference(*model, ids).select(1, 10);
  for (const std::int64_t chunk : {1, 4, 11, 50}) {
    Session session(*model, 2, options(chunk));
    EXPECT_TRUE(close(session.prefill(model->embed(ids, {})), want, kTolerance)) << chunk;
  }
}

// Rows of 9, 4 and 1 tokens, padded at the left or at the right, then further tokens.
TEST_P(SessionCases, PaddedRowsEqualEachAlone) {
  const auto model = make_tiny_model(GetParam().shape);
  const std::vector<std::int64_t> lengths{9, 4, 1};
  const at::Tensor ids = tiny_ids(GetParam().shape, 3, 9 + 4);  // 4 to come after the prompt
  for (const auto& [left, chunk] :
       {std::pair{true, 0}, {true, 4}, {true, 1}, {false, 0}, {false, 4}, {false, 3}}) {
    at::Tensor padded = at::full({3, 9}, 3, at::kLong);
    at::Tensor mask = at::zeros({3, 9}, at::kBool);
    for (std::int64_t row = 0; row < 3; ++row) {
      const std::int64_t n = lengths[static_cast<std::size_t>(row)], begin = left ? 9 - n : 0;
      padded[row].narrow(0, begin, n).copy_(ids[row].narrow(0, 0, n));
      mask[row].narrow(0, begin, n).fill_(true);
    }
    Session session(*model, 3, options(chunk));
    std::vector<at::Tensor> got{session.prefill(model->embed(padded, {}), mask)};
    for (std::int64_t i = 0; i < 4; ++i) {
      const c10::InferenceMode guard;
      session.cache().poison_unused();
      std::vector<at::Tensor> next;
      for (std::int64_t row = 0; row < 3; ++row)
        next.push_back(ids[row][lengths[static_cast<std::size_t>(row)] + i]);
      got.push_back(session.step(at::stack(next)));
    }
    for (std::int64_t row = 0; row < 3; ++row) {
      const std::int64_t n = lengths[static_cast<std::size_t>(row)];
      const at::Tensor want = reference(*model, ids[row].narrow(0, 0, n + 4).unsqueeze(0))[0];
      for (std::int64_t i = 0; i <= 4; ++i) {
        EXPECT_TRUE(close(got[static_cast<std::size_t>(i)][row], want[n - 1 + i], kTolerance))
            << (left ? "left" : "right") << " chunk " << chunk << " row " << row << " token " << i;
      }
    }
  }
}

// A common prefix, then questions of different lengths in the rows made from it.
TEST_P(SessionCases, OnePrefixServesManyContinuations) {
  const auto model = make_tiny_model(GetParam().shape);
  const at::Tensor ids = tiny_ids(GetParam().shape, 1, 6),
                   more = tiny_ids(GetParam().shape, 2, 3, 8);
  Session session(*model, 1, options());
  session.append(model->embed(ids, {}));
  session.select_rows(at::zeros({2}, at::kLong));
  at::Tensor mask = at::ones({2, 3}, at::kBool);
  mask[1][0] = false;
  const at::Tensor got = session.prefill(model->embed(more, {}), mask);
  const at::Tensor first = at::cat({ids[0], more[0]}).unsqueeze(0);
  const at::Tensor second = at::cat({ids[0], more[1].slice(0, 1)}).unsqueeze(0);
  EXPECT_TRUE(close(got[0], reference(*model, first)[0][8], kTolerance));
  EXPECT_TRUE(close(got[1], reference(*model, second)[0][7], kTolerance));
  // Back to the prefix: as if the questions, and the padding in one of them, had never been.
  session.truncate(6);
  const at::Tensor whole = at::cat({ids[0], more[1]}).unsqueeze(0);
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor again = session.step(more.select(1, i));
    EXPECT_TRUE(close(again[1], reference(*model, whole)[0][6 + i], kTolerance)) << i;
  }
}

TEST_P(SessionCases, BytesFollowTheFormula) {
  const TinyShape& s = GetParam().shape;
  const auto model = make_tiny_model(s, at::kBFloat16);
  Session session(*model, 3, options());
  session.append(model->embed(tiny_ids(s, 3, 300), {}));
  const std::int64_t k = s.kv_heads, d = s.head_dim, r = s.rope_dim, c = s.low_rank * k, n = d - r;
  std::int64_t per_token = 2 * k * d;
  if (s.mla && GetParam().mode == CacheMode::Native) {
    switch (*s.mla) {
      case SvdMethod::Joint:
        per_token = k * r + c;
        break;
      case SvdMethod::Split:
        per_token = k * r + 2 * c;
        break;
      case SvdMethod::OnlyKey:
        per_token = k * r + c + k * d;
        break;
      case SvdMethod::OnlyValue:
        per_token = k * r + k * n + c;
        break;
      case SvdMethod::None:
        per_token = k * r + k * n + k * d;
        break;
    }
  }
  EXPECT_EQ(session.cache().bytes(), 3 * 300 * s.layers * per_token * 2);
  // Room is taken in blocks of 256 tokens, and there are no other tensors.
  EXPECT_EQ(session.cache().allocated_bytes(), 3 * 512 * s.layers * per_token * 2);
}

INSTANTIATE_TEST_SUITE_P(Layouts,
                         SessionCases,
                         ::testing::ValuesIn(cases()),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(Session, ExpandedCacheSaysTheSameAsTheLatentOne) {
  const TinyShape shape = mla_shape(SvdMethod::Joint);
  const auto model = make_tiny_model(shape);
  const at::Tensor ids = tiny_ids(shape, 2, 8);
  std::vector<at::Tensor> logits;
  for (const CacheMode mode : {CacheMode::Native, CacheMode::Expanded}) {
    for (const AttentionPath path : {AttentionPath::Expanded, AttentionPath::Absorbed}) {
      SessionOptions options;
      options.cache_mode = mode;
      options.path = path;
      Session session(*model, 2, options);
      session.prefill(model->embed(ids.slice(1, 0, 7), {}));
      logits.push_back(session.step(ids.select(1, 7)));
    }
  }
  for (const auto& other : logits) EXPECT_TRUE(close(other, logits.front(), {2e-5, 0}));
}

// So many cached tokens that keys and values are expanded for some heads at a time.
TEST(Session, ALongCacheIsExpandedByHeads) {
  constexpr std::int64_t kCached = 110'000;
  TinyShape shared;
  shared.shared_layers = {{{0, 2, 2, 5}, 19}, {{1, 7}, 36}};
  for (const TinyShape& shape :
       {mla_shape(SvdMethod::Joint), mla_shape(SvdMethod::Split, 2, true), shared}) {
    const c10::InferenceMode guard;
    const auto model = make_tiny_model(shape);
    const at::Tensor ids = tiny_ids(shape, 1, 6);
    const auto said = [&](AttentionPath path) {
      SessionOptions options;
      options.path = path;
      Session session(*model, 1, options);
      session.cache().reserve(kCached);
      for (std::int64_t layer = 0; layer < 2; ++layer) {
        for (std::size_t plane = 0; plane < session.cache().layout(layer).planes.size(); ++plane) {
          at::Tensor numbers = session.cache().stored(layer, plane).payload;
          numbers.normal_(0.0, 2.0, at::detail::createCPUGenerator(layer + 7));
        }
      }
      session.cache().advance(kCached);
      return session.prefill(model->embed(ids, {}));
    };
    const at::Tensor want = said(AttentionPath::Absorbed);
    EXPECT_TRUE(close(said(AttentionPath::Expanded), want, {5e-4, 0}));
    for (const NamedParameter& p : model->parameters()) {  // planted: another head's values
      if (p.name.ends_with("up_v.weight")) *p.tensor = p.tensor->roll(shape.head_dim, 0);
    }
    EXPECT_FALSE(close(said(AttentionPath::Expanded), want, {1e-2, 0}));
  }
}

TEST(Session, AGpuTakesChunksByTheNumberOfRows) {
  EXPECT_EQ(default_prefill_chunk(1, 40), 40);
  EXPECT_EQ(default_prefill_chunk(1, 624), 312);  // two of a size
  EXPECT_EQ(default_prefill_chunk(1, 2'048), 293);
  EXPECT_EQ(default_prefill_chunk(1, 100'000), 637);
  EXPECT_EQ(default_prefill_chunk(8, 624), 624);  // pictures and questions at once
  EXPECT_EQ(default_prefill_chunk(64, 624), 624);
  EXPECT_EQ(default_prefill_chunk(128, 624), 312);
  EXPECT_EQ(default_prefill_chunk(100'000, 640), 64);
}

// On a GPU a later chunk takes another attention than a whole prompt does.
TEST(SessionCuda, ChunksErrNoMoreThanOnePrefill) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no CUDA device";
  TinyShape mha, gqa, mla;
  mha.head_dim = gqa.head_dim = mla.head_dim = 64;
  mha.hidden = gqa.hidden = mla.hidden = 256;
  gqa.kv_heads = 2;
  mla.mla = SvdMethod::Joint;
  mla.rope_dim = mla.low_rank = 32;
  for (const TinyShape& shape : {mha, gqa, mla}) {
    const auto model = make_tiny_model(shape, at::kBFloat16, at::kCUDA);
    const auto exact = make_tiny_model(shape);
    const auto given = model->parameters(), wide = exact->parameters();
    for (std::size_t i = 0; i < given.size(); ++i)
      *wide[i].tensor = given[i].tensor->to(at::kCPU, at::kFloat);
    const at::Tensor ids = tiny_ids(shape, 2, 200);
    const c10::InferenceMode guard;
    const at::Tensor want = exact->forward(ids, {}, {}).select(1, 199);
    const auto error = [&](std::int64_t chunk, const at::Tensor& mask = {}) {
      SessionOptions options;
      options.prefill_chunk = chunk;
      options.path = AttentionPath::Expanded;
      Session session(*model, 2, options);
      const at::Tensor got = session.prefill(model->embed(ids.to(at::kCUDA), {}), mask);
      return (got.to(at::kCPU, at::kFloat) - want).abs().mean().item<double>();
    };
    const double whole = error(200);
    EXPECT_GT(whole, 0.0);
    for (const std::int64_t chunk : {7, 64, 150}) {
      EXPECT_LT(error(chunk), 1.5 * whole) << chunk;
      EXPECT_LT(error(chunk, at::ones({2, 200}, at::kBool)), 1.5 * whole) << chunk << " masked";
    }
  }
}

}  // namespace
}  // namespace vmla::test
