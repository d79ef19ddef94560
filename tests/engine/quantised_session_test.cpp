// Sessions whose cache is quantised, through the same paths as plain ones.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "engine/session.h"
#include "support/expect_close.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

struct Case {
  const char* name;
  TinyShape shape;
  CacheMode mode = CacheMode::Native;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

TinyShape mla_shape(SvdMethod method, std::int64_t kv_heads = 4) {
  TinyShape shape;
  shape.mla = method;
  shape.kv_heads = kv_heads;
  return shape;
}

std::vector<Case> cases() {
  TinyShape gqa;
  gqa.kv_heads = 2;
  TinyShape decoupled = mla_shape(SvdMethod::Joint);
  decoupled.decoupled = true;
  TinyShape shared;  // widths that differ from layer to layer and fill no group
  shared.shared_layers = {{{0, 2, 2, 5}, 19}, {{1, 7}, 36}};
  return {{"mha", {}},
          {"gqa", gqa},
          {"joint", mla_shape(SvdMethod::Joint)},
          {"joint_gqa", mla_shape(SvdMethod::Joint, 2)},
          {"split", mla_shape(SvdMethod::Split)},
          {"only_key", mla_shape(SvdMethod::OnlyKey)},
          {"decoupled", decoupled},
          {"shared", shared},
          {"joint_expanded_cache", mla_shape(SvdMethod::Joint), CacheMode::Expanded}};
}

// The root mean square by which logits, which are O(1), may differ from those of a plain cache; the
// worst of all cases measured was half of it.
double bound(CacheDtype dtype) {
  return dtype == CacheDtype::Int8 ? 0.04 : dtype == CacheDtype::Fp8 ? 0.15 : 0.5;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).square().mean().sqrt().item<double>();
}

constexpr CacheDtype kQuantised[] = {CacheDtype::Int8, CacheDtype::Fp8, CacheDtype::Int4};

class QuantisedSession : public ::testing::TestWithParam<Case> {
 protected:
  SessionOptions options(CacheDtype dtype, AttentionPath path = AttentionPath::Auto) const {
    SessionOptions out;
    out.cache_mode = GetParam().mode;
    out.cache_format = {dtype, dtype};
    out.path = path;
    return out;
  }
  // 6 tokens, then one at a time; the logits behind each from the 6th on [S - 5, B, V].
  at::Tensor logits(const SessionOptions& session_options, bool poison = false) const {
    const c10::InferenceMode guard;
    Session session(*model_, 2, session_options);
    std::vector<at::Tensor> out{session.prefill(model_->embed(ids_.slice(1, 0, 6), {}))};
    for (std::int64_t i = 6; i < ids_.size(1); ++i) {
      if (poison) session.cache().poison_unused();
      out.push_back(session.step(ids_.select(1, i)));
    }
    EXPECT_EQ(session.cache().bytes(),
              2 * ids_.size(1) *
                  bytes_per_token(model_->cache_layouts(session_options.cache_mode,
                                                        session_options.cache_format)));
    return at::stack(out);
  }

  std::unique_ptr<Vlm> model_ = make_tiny_model(GetParam().shape);
  at::Tensor ids_ = tiny_ids(GetParam().shape, 2, 14);
};

TEST_P(QuantisedSession, StaysNearThePlainOne) {
  const at::Tensor plain = logits(options(CacheDtype::Auto));
  double finer = 0;
  for (const CacheDtype dtype : kQuantised) {
    const double error = distance(logits(options(dtype)), plain);
    EXPECT_LT(error, bound(dtype)) << cache_dtype_name(dtype);
    EXPECT_GT(error, finer) << cache_dtype_name(dtype);
    finer = error;
  }
}

TEST_P(QuantisedSession, ReadsNothingThatWasNotWritten) {
  for (const CacheDtype dtype : kQuantised)
    EXPECT_TRUE(same_bits(logits(options(dtype), /*poison=*/true), logits(options(dtype))));
}

// Both read the same stored numbers; where rounding differs, a number may fall to its neighbour.
TEST_P(QuantisedSession, AbsorbedEqualsExpanded) {
  if (!GetParam().shape.mla && GetParam().shape.shared_layers.empty()) return;
  for (const CacheDtype dtype : kQuantised) {
    EXPECT_LT(distance(logits(options(dtype, AttentionPath::Absorbed)),
                       logits(options(dtype, AttentionPath::Expanded))),
              bound(dtype) / 4)
        << cache_dtype_name(dtype);
  }
}

TEST_P(QuantisedSession, RowsAreIndependent) {
  const c10::InferenceMode guard;
  for (const CacheDtype dtype : kQuantised) {
    Session both(*model_, 2, options(dtype));
    both.prefill(model_->embed(ids_.slice(1, 0, 8), {}));
    both.truncate(6);
    both.select_rows(at::tensor({1, 1}, at::kLong));
    Session one(*model_, 2, options(dtype));
    one.prefill(model_->embed(ids_.slice(1, 0, 6).select(0, 1).expand({2, 6}), {}));
    const at::Tensor next = ids_.select(1, 6);
    EXPECT_LT(distance(both.step(next), one.step(next)), bound(dtype) / 4)
        << cache_dtype_name(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, QuantisedSession, ::testing::ValuesIn(cases()));

}  // namespace
}  // namespace vmla::test
