// The decode step of fixed shapes against the plain one: on the CPU through the kernels'
// references, on a GPU through the kernels and a CUDA graph.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "kernels/device.h"
#include "model/load.h"
#include "support/expect_close.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

struct Case {
  const char* name;
  TinyShape shape;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

std::vector<Case> cases() {
  TinyShape gqa, joint, joint_gqa;
  gqa.kv_heads = 2;
  gqa.qkv_bias = true;
  joint.mla = SvdMethod::Joint;
  joint.rope_version = "2-norm";
  joint_gqa = joint;
  joint_gqa.kv_heads = 2;
  joint_gqa.qkv_bias = true;
  TinyShape shared, shared_gqa;  // widths differ from layer to layer
  shared.shared_layers = {{{0, 2, 2, 5}, 19}, {{1, 7}, 36}};
  shared_gqa = shared;
  shared_gqa.kv_heads = 2;
  shared_gqa.qkv_bias = true;
  return {{"mha", {}},
          {"gqa_bias", gqa},
          {"joint", joint},
          {"joint_gqa_bias", joint_gqa},
          {"shared", shared},
          {"shared_gqa_bias", shared_gqa}};
}

SessionOptions with(StepEngine engine) {
  SessionOptions options;
  options.step_engine = engine;
  return options;
}

class StaticStepCases : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr Tolerance kTolerance{2e-5, 0};
};

TEST_P(StaticStepCases, StepsEqualThePlainOnes) {
  const auto model = make_tiny_model(GetParam().shape);
  const at::Tensor ids = tiny_ids(GetParam().shape, 3, 12);
  Session plain(*model, 3, with(StepEngine::Plain)), fixed(*model, 3, with(StepEngine::Static));
  for (Session* session : {&plain, &fixed}) session->prefill(model->embed(ids.slice(1, 0, 5), {}));
  for (std::int64_t i = 5; i < 12; ++i) {
    const c10::InferenceMode guard;
    fixed.cache().poison_unused();
    const at::Tensor want = plain.step(ids.select(1, i)), got = fixed.step(ids.select(1, i));
    EXPECT_TRUE(close(got, want, kTolerance)) << i;
    EXPECT_FALSE(close(got * 1.001 + 1e-4, want, kTolerance)) << "planted";
  }
  EXPECT_TRUE(fixed.steps_statically());
  EXPECT_FALSE(plain.steps_statically());
  EXPECT_EQ(fixed.length(), 12);
  EXPECT_EQ(fixed.cache().bytes(), plain.cache().bytes());
}

// Both read the same stored numbers; where rounding differs, a number may fall to its neighbour.
TEST_P(StaticStepCases, StepsOnAQuantisedCacheEqualThePlainOnes) {
  const auto model = make_tiny_model(GetParam().shape);
  const at::Tensor ids = tiny_ids(GetParam().shape, 3, 12);
  for (const CacheFormat& format : {CacheFormat{CacheDtype::Int8, CacheDtype::Int8},
                                    CacheFormat{CacheDtype::Fp8, CacheDtype::Auto},
                                    CacheFormat{CacheDtype::Int4, CacheDtype::Int8},
                                    CacheFormat{CacheDtype::Int4, CacheDtype::Int4}}) {
    const auto options = [&](StepEngine engine, const CacheFormat& cache_format) {
      SessionOptions out = with(engine);
      out.cache_format = cache_format;
      return out;
    };
    Session plain(*model, 3, options(StepEngine::Plain, format)),
        fixed(*model, 3, options(StepEngine::Static, format)),
        unpacked(*model, 3, options(StepEngine::Static, {}));
    for (Session* session : {&plain, &fixed, &unpacked})
      session->prefill(model->embed(ids.slice(1, 0, 5), {}));
    const auto distance = [](const at::Tensor& a, const at::Tensor& b) {
      return (a - b).square().mean().sqrt().item<double>();
    };
    for (std::int64_t i = 5; i < 12; ++i) {
      const c10::InferenceMode guard;
      fixed.cache().poison_unused();
      const at::Tensor tokens = ids.select(1, i), got = fixed.step(tokens);
      const double loss = distance(unpacked.step(tokens), got);
      EXPECT_LT(distance(got, plain.step(tokens)), 0.02 * loss) << i;
      EXPECT_GT(loss, 1e-4);
    }
    EXPECT_TRUE(fixed.steps_statically());
    EXPECT_EQ(fixed.cache().bytes(), plain.cache().bytes());
  }
}

TEST_P(StaticStepCases, MergedProjectionsChangeNothing) {
  const auto model = make_tiny_model(GetParam().shape), merged = make_tiny_model(GetParam().shape);
  merge_projections(*merged);
  const at::Tensor ids = tiny_ids(GetParam().shape, 2, 8);
  Session before(*model, 2, with(StepEngine::Plain)), after(*merged, 2, with(StepEngine::Static));
  EXPECT_TRUE(close(after.prefill(merged->embed(ids.slice(1, 0, 4), {})),
                    before.prefill(model->embed(ids.slice(1, 0, 4), {})),
                    kTolerance));
  for (std::int64_t i = 4; i < 8; ++i)
    EXPECT_TRUE(close(after.step(ids.select(1, i)), before.step(ids.select(1, i)), kTolerance));
  const auto plain_parameters = model->parameters(), merged_parameters = merged->parameters();
  for (std::size_t i = 0; i < plain_parameters.size(); ++i) {
    EXPECT_TRUE(same_bits(*plain_parameters[i].tensor, *merged_parameters[i].tensor))
        << plain_parameters[i].name;
  }
}

TEST_P(StaticStepCases, PaddingInFrontAndChangesOfTheBatch) {
  const TinyShape& shape = GetParam().shape;
  const auto model = make_tiny_model(shape);
  const at::Tensor ids = tiny_ids(shape, 3, 10);
  at::Tensor mask = at::ones({3, 6}, at::kBool);
  mask[1].slice(0, 0, 4).fill_(false);
  Session plain(*model, 3, with(StepEngine::Plain)), fixed(*model, 3, with(StepEngine::Static));
  for (Session* session : {&plain, &fixed})
    session->prefill(model->embed(ids.slice(1, 0, 6), {}), mask);
  const auto compare = [&](std::int64_t i, const at::Tensor& tokens) {
    EXPECT_TRUE(close(fixed.step(tokens), plain.step(tokens), kTolerance)) << i;
    EXPECT_TRUE(fixed.steps_statically());
  };
  for (std::int64_t i = 6; i < 8; ++i) compare(i, ids.select(1, i));
  const at::Tensor rows = at::tensor({2, 1}, at::kLong);
  plain.select_rows(rows);
  fixed.select_rows(rows);
  for (std::int64_t i = 8; i < 10; ++i) compare(i, ids.select(1, i).index_select(0, rows));
  plain.truncate(7);
  fixed.truncate(7);
  compare(10, ids.select(1, 0).index_select(0, rows));
}

TEST(StaticStep, OutgrowsItsRoom) {
  const auto model = make_tiny_model({});
  const at::Tensor ids = tiny_ids({}, 1, 270);
  Session plain(*model, 1, with(StepEngine::Plain)), fixed(*model, 1, with(StepEngine::Static));
  for (Session* session : {&plain, &fixed})
    session->prefill(model->embed(ids.slice(1, 0, 250), {}));
  for (std::int64_t i = 250; i < 270; ++i)
    EXPECT_TRUE(close(fixed.step(ids.select(1, i)), plain.step(ids.select(1, i)), {2e-5, 0})) << i;
}

// A shared prefix, suffixes padded on the left, then some padded on the right.
TEST_P(StaticStepCases, PaddingAnywhereIsMovedInFront) {
  const TinyShape& shape = GetParam().shape;
  const auto model = make_tiny_model(shape);
  const at::Tensor ids = tiny_ids(shape, 3, 14);
  at::Tensor left = at::ones({3, 4}, at::kBool), right = left.clone();
  left[1].slice(0, 0, 3).fill_(false);
  right[0].slice(0, 2).fill_(false);
  right[1].slice(0, 1, 3).fill_(false);
  for (const CacheDtype dtype : {CacheDtype::Auto, CacheDtype::Int8, CacheDtype::Int4}) {
    SessionOptions options = with(StepEngine::Static);
    options.cache_format = {dtype, dtype};
    SessionOptions other = options;
    other.step_engine = StepEngine::Plain;
    Session plain(*model, 3, other), fixed(*model, 3, options);
    for (Session* session : {&plain, &fixed}) {
      session->append(model->embed(ids.slice(1, 0, 3), {}));
      session->append(model->embed(ids.slice(1, 3, 7), {}), left);
      session->prefill(model->embed(ids.slice(1, 7, 11), {}), right);
      const c10::InferenceMode guard;
      session->cache().poison_unused();
    }
    const auto compare = [&](std::int64_t i, const at::Tensor& tokens) {
      EXPECT_TRUE(close(fixed.step(tokens), plain.step(tokens), kTolerance))
          << cache_dtype_name(dtype) << " " << i;
      EXPECT_TRUE(fixed.steps_statically());
    };
    for (std::int64_t i = 11; i < 13; ++i) compare(i, ids.select(1, i));
    const at::Tensor rows = at::tensor({2, 0, 1, 1}, at::kLong);
    plain.select_rows(rows);
    fixed.select_rows(rows);
    compare(13, ids.select(1, 13).index_select(0, rows));
  }
}

INSTANTIATE_TEST_SUITE_P(All, StaticStepCases, ::testing::ValuesIn(cases()), [](const auto& test) {
  return std::string(test.param.name);
});

TEST(StaticStep, OtherLayoutsGoThePlainWay) {
  TinyShape split;
  split.mla = SvdMethod::Split;
  const auto converted = make_tiny_model(split);
  Session other(*converted, 2, with(StepEngine::Static));
  EXPECT_EQ(StaticStep::why_not(*converted, other.cache()).value_or(""),
            "svd_init_method split has no decode step of fixed shapes, only joint has");
  EXPECT_THROW(parse_step_engine("fast"), Error);
}

// A graph gives the bits that direct steps give; both stay as close to fp32 as the plain path does.
TEST(StaticStepCuda, GraphEqualsDirectStepsAndErrsNoMoreThanPlain) {
  if (!kernels::built_with_cuda() || !at::globalContext().hasCUDA())
    GTEST_SKIP() << "no CUDA device";
  TinyShape mha, mla, shared;
  mha.head_dim = mla.head_dim = shared.head_dim = 64;
  mha.hidden = mla.hidden = shared.hidden = 256;
  mla.mla = SvdMethod::Joint;
  mla.rope_dim = 32;
  mla.low_rank = 32;
  shared.shared_layers = {{{0, 2, 2, 5, 9, 31}, 104}, {{1, 7}, 64}};
  for (const TinyShape& shape : {mha, mla, shared}) {
    for (const std::int64_t rows : {1, 3, 9}) {
      const auto model = make_tiny_model(shape, at::kBFloat16, at::kCUDA);
      const auto exact = make_tiny_model(shape);
      const auto given = model->parameters(), wide = exact->parameters();
      for (std::size_t i = 0; i < given.size(); ++i)
        *wide[i].tensor = given[i].tensor->to(at::kCPU, at::kFloat);
      merge_projections(*model);
      const at::Tensor ids = tiny_ids(shape, rows, 40);
      SessionOptions direct_options = with(StepEngine::Static);
      direct_options.step_graph = false;
      Session truth(*exact, rows), plain(*model, rows, with(StepEngine::Plain)),
          graph(*model, rows, with(StepEngine::Auto)), direct(*model, rows, direct_options);
      truth.prefill(exact->embed(ids.slice(1, 0, 20), {}));
      for (Session* session : {&plain, &graph, &direct})
        session->prefill(model->embed(ids.slice(1, 0, 20).to(at::kCUDA), {}));
      double plain_error = 0, graph_error = 0;
      for (std::int64_t i = 20; i < 40; ++i) {
        const c10::InferenceMode guard;
        const at::Tensor tokens = ids.select(1, i), there = tokens.to(at::kCUDA);
        const at::Tensor want = truth.step(tokens);
        const auto error = [&](const at::Tensor& got) {
          return (got.to(at::kCPU, at::kFloat) - want).abs().mean().item<double>();
        };
        const at::Tensor by_graph = graph.step(there).clone();
        EXPECT_TRUE(same_bits(by_graph, direct.step(there))) << rows << " rows, token " << i;
        graph_error += error(by_graph);
        plain_error += error(plain.step(there));
      }
      EXPECT_TRUE(graph.steps_statically());
      EXPECT_LT(graph_error, 1.2 * plain_error) << rows;
      EXPECT_GT(plain_error, 0.0);
    }
  }
}

// A quantised cache in a graph: the kernels read what the plain path would.
TEST(StaticStepCuda, QuantisedCacheErrsNoMoreThanPlain) {
  if (!kernels::built_with_cuda() || !at::globalContext().hasCUDA())
    GTEST_SKIP() << "no CUDA device";
  TinyShape mha, mla, shared;
  mha.head_dim = mla.head_dim = shared.head_dim = 64;
  mha.hidden = mla.hidden = shared.hidden = 256;
  mla.mla = SvdMethod::Joint;
  mla.rope_dim = 32;
  mla.low_rank = 32;
  shared.shared_layers = {{{0, 2, 2, 5, 9, 31}, 104}, {{1, 7, 7, 8}, 64}};
  for (const TinyShape& shape : {mha, mla, shared}) {
    for (const CacheDtype dtype : {CacheDtype::Int8, CacheDtype::Fp8, CacheDtype::Int4}) {
      const std::int64_t rows = 3;
      const auto model = make_tiny_model(shape, at::kBFloat16, at::kCUDA);
      const auto exact = make_tiny_model(shape);
      const auto given = model->parameters(), wide = exact->parameters();
      for (std::size_t i = 0; i < given.size(); ++i)
        *wide[i].tensor = given[i].tensor->to(at::kCPU, at::kFloat);
      const at::Tensor ids = tiny_ids(shape, rows, 40);
      const auto options = [&](StepEngine engine) {
        SessionOptions out = with(engine);
        out.cache_format = {dtype, dtype};
        return out;
      };
      Session truth(*exact, rows), plain(*model, rows, options(StepEngine::Plain)),
          graph(*model, rows, options(StepEngine::Auto));
      truth.prefill(exact->embed(ids.slice(1, 0, 20), {}));
      for (Session* session : {&plain, &graph})
        session->prefill(model->embed(ids.slice(1, 0, 20).to(at::kCUDA), {}));
      double plain_error = 0, graph_error = 0;
      for (std::int64_t i = 20; i < 40; ++i) {
        const c10::InferenceMode guard;
        const at::Tensor tokens = ids.select(1, i), there = tokens.to(at::kCUDA);
        const at::Tensor want = truth.step(tokens);
        const auto error = [&](const at::Tensor& got) {
          return (got.to(at::kCPU, at::kFloat) - want).abs().mean().item<double>();
        };
        graph_error += error(graph.step(there));
        plain_error += error(plain.step(there));
      }
      EXPECT_TRUE(graph.steps_statically());
      EXPECT_LT(graph_error, 1.2 * plain_error) << cache_dtype_name(dtype);
      EXPECT_GT(plain_error, 0.0);
    }
  }
}

}  // namespace
}  // namespace vmla::test
