#include "nn/plane_codec.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "nn/kv_cache.h"
#include "support/expect_close.h"
#include "support/expect_error.h"

namespace vmla::test {
namespace {

CachePlane plane_of(CacheDtype dtype, std::vector<std::int64_t> shape) {
  PlaneCodec codec = plane_codec(dtype, shape);
  return {"latent", std::move(shape), codec};
}

at::Tensor random_values(const CachePlane& plane, std::int64_t batch, std::int64_t tokens) {
  std::vector<std::int64_t> shape{batch, tokens};
  shape.insert(shape.end(), plane.shape.begin(), plane.shape.end());
  return at::randn(shape, at::detail::createCPUGenerator(3)) * 3.0;
}

// scales [B, S, G] -> one for each element [B, S, n].
at::Tensor scale_of_each(const StoredPlane& stored, const CachePlane& plane) {
  return stored.scales.to(at::kFloat)
      .repeat_interleave(plane.codec.group, 2)
      .narrow(2, 0, plane.elements());
}

// Within rounding: the numbers that a group cannot express are at most this far away.
at::Tensor error_bound(const at::Tensor& flat, const at::Tensor& scale, CacheDtype dtype) {
  if (dtype == CacheDtype::Int8) return scale * 0.5;
  if (dtype == CacheDtype::Int4) {
    // 7.5 to 8 scales on the side opposite to the outermost element are cut to 7.
    return at::where(flat / scale > 7.5, flat / scale - 7.0, 0.5) * scale.abs();
  }
  // e4m3: three bits behind the point, from 2^-6 on; below, steps of 2^-9.
  return at::maximum(flat.abs() / 16.0, scale / 1024.0);
}

void expect_bounded(const at::Tensor& values, const CachePlane& plane) {
  const StoredPlane stored = encode_plane(values, plane);
  const at::Tensor got = decode_plane(stored, plane, at::kFloat);
  ASSERT_EQ(got.sizes(), values.sizes());
  const at::Tensor flat = values.flatten(2), scale = scale_of_each(stored, plane);
  const at::Tensor excess =
      (got.flatten(2) - flat).abs() - error_bound(flat, scale, plane.codec.dtype);
  EXPECT_LE(excess.max().item<double>(), 1e-6 * flat.abs().max().item<double>());
}

struct Case {
  CacheDtype dtype;
  std::vector<std::int64_t> shape;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << cache_dtype_name(c.dtype) << " [" << fmt::format("{}", fmt::join(c.shape, ", ")) << "]";
}

class QuantisedPlane : public ::testing::TestWithParam<Case> {
 protected:
  CachePlane plane_ = plane_of(GetParam().dtype, GetParam().shape);
};

TEST_P(QuantisedPlane, ErrorsAreBounded) {
  const at::Tensor values = random_values(plane_, 2, 5);
  expect_bounded(values, plane_);
  expect_bounded(values * 1e-6, plane_);  // scales below the normal range of fp16
  expect_bounded(values * 1e4, plane_);
}

TEST_P(QuantisedPlane, ZerosStayZeros) {
  at::Tensor values = random_values(plane_, 2, 3);
  values.select(1, 1).zero_();
  const at::Tensor got = decode_plane(encode_plane(values, plane_), plane_, at::kFloat);
  EXPECT_TRUE(same_bits(got.select(1, 1), values.select(1, 1)));
}

TEST_P(QuantisedPlane, AnOutlierDisturbsOnlyItsGroup) {
  at::Tensor values = random_values(plane_, 1, 3);
  const at::Tensor before = decode_plane(encode_plane(values, plane_), plane_, at::kFloat);
  values.flatten(2)[0][1][0] = 1e4;
  expect_bounded(values, plane_);
  const at::Tensor after = decode_plane(encode_plane(values, plane_), plane_, at::kFloat);
  EXPECT_TRUE(same_bits(after.select(1, 0), before.select(1, 0)));
  EXPECT_TRUE(same_bits(after.select(1, 2), before.select(1, 2)));
  EXPECT_TRUE(same_bits(after.flatten(2)[0][1].slice(0, plane_.codec.group),
                        before.flatten(2)[0][1].slice(0, plane_.codec.group)));
}

TEST_P(QuantisedPlane, WhatIsNotFiniteShows) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    at::Tensor values = random_values(plane_, 1, 2);
    values.flatten(2)[0][1][0] = bad;
    const at::Tensor got = decode_plane(encode_plane(values, plane_), plane_, at::kFloat);
    EXPECT_TRUE(got.select(1, 0).isfinite().all().item<bool>());
    EXPECT_TRUE(got.flatten(2)[0][1][0].isnan().item<bool>());
  }
}

TEST_P(QuantisedPlane, StoredBytesAreTheFormula) {
  const StoredPlane stored = encode_plane(random_values(plane_, 2, 5), plane_);
  EXPECT_EQ(static_cast<std::int64_t>(stored.payload.nbytes() + stored.scales.nbytes()),
            2 * 5 * plane_.bytes());
  const StoredPlane empty = empty_plane(plane_, 2, 5, at::kCPU);
  EXPECT_EQ(empty.payload.sizes(), stored.payload.sizes());
  EXPECT_EQ(empty.payload.scalar_type(), stored.payload.scalar_type());
  EXPECT_EQ(empty.scales.sizes(), stored.scales.sizes());
}

// Token by token, in chunks, all at once, and after growing: the same bytes.
TEST_P(QuantisedPlane, AppendingInPiecesChangesNoBit) {
  const std::vector<CacheLayout> layouts{{{plane_}}};
  const at::Tensor values = random_values(plane_, 2, 11).to(at::kBFloat16);
  ContiguousCache whole(layouts, 2, at::kBFloat16, at::kCPU, 4);
  const at::Tensor want = whole.append(0, {values})[0];
  whole.advance(11);
  ContiguousCache pieces(layouts, 2, at::kBFloat16, at::kCPU, 4);
  for (const auto& [begin, end] : {std::pair{0, 5}, {5, 6}, {6, 7}, {7, 11}}) {
    pieces.poison_unused();
    const at::Tensor got = pieces.append(0, {values.slice(1, begin, end)})[0];
    EXPECT_TRUE(same_bits(got, want.slice(1, 0, end)));
    pieces.advance(end - begin);
  }
  EXPECT_TRUE(same_bits(pieces.stored(0, 0).payload.slice(1, 0, 11),
                        whole.stored(0, 0).payload.slice(1, 0, 11)));
  EXPECT_TRUE(same_bits(pieces.stored(0, 0).scales.slice(1, 0, 11),
                        whole.stored(0, 0).scales.slice(1, 0, 11)));
}

TEST_P(QuantisedPlane, ServesAsACache) {
  ContiguousCache cache({{{plane_}}}, 3, at::kFloat, at::kCPU, 4);
  const at::Tensor values = random_values(plane_, 3, 6);
  const at::Tensor want = decode_plane(encode_plane(values, plane_), plane_, at::kFloat);
  cache.append(0, {values});
  cache.advance(6);
  EXPECT_EQ(cache.bytes(), 3 * 6 * plane_.bytes());
  EXPECT_EQ(cache.allocated_bytes(), 3 * 8 * plane_.bytes());
  const at::Tensor rows = at::tensor({2, 0, 2, 1}, at::kLong);
  cache.select_rows(rows);
  cache.truncate(5);
  cache.poison_unused();
  EXPECT_TRUE(cache.stored(0, 0).scales.slice(1, 5).isnan().all().item<bool>());
  const at::Tensor fresh = values.index_select(0, rows).slice(1, 5);
  EXPECT_TRUE(same_bits(cache.append(0, {fresh})[0], want.index_select(0, rows)));
  cache.reserve(20);
  EXPECT_EQ(cache.allocated_bytes(), 4 * 20 * plane_.bytes());
}

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const CacheDtype dtype : {CacheDtype::Fp8, CacheDtype::Int8, CacheDtype::Int4}) {
    for (const auto& shape :
         std::vector<std::vector<std::int64_t>>{{128}, {4, 64}, {1, 48}, {8, 8}, {77}}) {
      out.push_back({dtype, shape});
    }
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, QuantisedPlane, ::testing::ValuesIn(cases()));

// Written down by hand: what a kernel reads.
TEST(PlaneCodec, BytesLieAsDocumented) {
  const CachePlane int4{"latent", {3}, {CacheDtype::Int4, 2}};
  const StoredPlane halves = encode_plane(at::tensor({-8.0F, 3.0F, 4.0F}).view({1, 1, 3}), int4);
  EXPECT_TRUE(at::equal(halves.payload.flatten(), at::tensor({0xb0, 0x00}, at::kByte)));
  EXPECT_TRUE(at::equal(halves.scales.flatten().to(at::kFloat), at::tensor({1.0F, -0.5F})));

  const CachePlane int8{"latent", {2, 2}, {CacheDtype::Int8, 2}};
  const StoredPlane bytes =
      encode_plane(at::tensor({127.0F, -3.0F, 0.0F, -254.0F}).view({1, 1, 2, 2}), int8);
  EXPECT_TRUE(at::equal(bytes.payload.flatten(), at::tensor({127, -3, 0, -127}, at::kChar)));
  EXPECT_TRUE(at::equal(bytes.scales.flatten().to(at::kFloat), at::tensor({1.0F, 2.0F})));

  const CachePlane fp8{"latent", {3}, {CacheDtype::Fp8, 3}};
  const StoredPlane bits = encode_plane(at::tensor({448.0F, 1.0F, -1.125F}).view({1, 1, 3}), fp8);
  EXPECT_TRUE(at::equal(bits.payload.flatten(), at::tensor({0x7e, 0x38, 0xb9}, at::kByte)));
}

TEST(PlaneCodec, NumbersStoredAsTheyAreReadAreNotCopied) {
  const CachePlane plane = plane_of(CacheDtype::BFloat16, {4, 8});
  const StoredPlane stored = encode_plane(at::ones({1, 2, 4, 8}, at::kBFloat16), plane);
  EXPECT_TRUE(decode_plane(stored, plane, at::kBFloat16).is_alias_of(stored.payload));
  EXPECT_EQ(decode_plane(stored, plane, at::kFloat).scalar_type(), at::kFloat);
}

// LLaVA-1.5-7B, one layer: K 32, D 128; r 32 and R 32 make C 1024 and 32 * 32 rotary numbers.
TEST(PlaneCodec, SizeGoals) {
  const auto bytes = [](const CacheLayout& layout, CacheDtype dtype, CacheDtype rope) {
    return with_format({layout}, {dtype, rope}, CacheDtype::BFloat16)[0].bytes_per_token();
  };
  const CacheLayout mha{{{"k", {32, 128}}, {"v", {32, 128}}}};
  const CacheLayout mla{{{"k_rope", {32, 32}}, {"latent", {1024}}}};
  const auto Auto = CacheDtype::Auto, Int8 = CacheDtype::Int8, Int4 = CacheDtype::Int4,
             Fp8 = CacheDtype::Fp8;
  const std::int64_t whole = bytes(mha, Auto, Auto);
  EXPECT_EQ(whole, 16384);
  EXPECT_EQ(bytes(mla, Auto, Auto), 4096);
  EXPECT_EQ(bytes(mla, Int8, Int8), 1024 + 2 * 32 + 1024 + 2);
  EXPECT_EQ(bytes(mla, Fp8, Fp8), 1024 + 2 * 32 + 1024 + 2);
  EXPECT_EQ(bytes(mla, Int4, Int8), 1024 + 2 * 32 + 512 + 2 * 32);
  EXPECT_EQ(bytes(mla, Int4, Int4), 512 + 2 * 32 + 512 + 2 * 32);
  EXPECT_EQ(bytes(mla, Int8, CacheDtype::BFloat16), 2048 + 1024 + 2);
  EXPECT_EQ(bytes(mha, Int8, Auto), 2 * (4096 + 2 * 32));
  EXPECT_EQ(bytes(mha, Int4, Auto), 2 * (2048 + 2 * 128));
  EXPECT_GE(static_cast<double>(whole) / static_cast<double>(bytes(mla, Int8, Int8)), 7.5);
  EXPECT_GE(static_cast<double>(whole) / static_cast<double>(bytes(mla, Int4, Int8)), 9.5);
  EXPECT_GE(static_cast<double>(whole) / static_cast<double>(bytes(mla, Int4, Int4)), 14.0);
}

TEST(PlaneCodec, NamesSayWhatIsStored) {
  const CacheLayout mla{{{"k_rope", {4, 8}}, {"latent", {16}}}};
  const auto stored_as = [&](CacheDtype dtype, CacheDtype rope) {
    return with_format({mla}, {dtype, rope}, CacheDtype::Float16)[0].stored_as();
  };
  EXPECT_EQ(stored_as(CacheDtype::Auto, CacheDtype::Auto), "fp16");
  EXPECT_EQ(stored_as(CacheDtype::Int4, CacheDtype::Int4), "int4");
  EXPECT_EQ(stored_as(CacheDtype::Int4, CacheDtype::Int8), "k_rope int8 + latent int4");
  for (const char* name : {"auto", "bf16", "fp16", "fp32", "fp8", "int8", "int4"})
    EXPECT_STREQ(cache_dtype_name(parse_cache_dtype("--x", name)), name);
  EXPECT_TRUE(
      fails_with(ErrorKind::Usage,
                 {"--kv_cache_dtype: expected auto, bf16, fp16, fp32, fp8, int8 or int4, got int3"},
                 [] { parse_cache_dtype("--kv_cache_dtype", "int3"); }));
}

}  // namespace
}  // namespace vmla::test
