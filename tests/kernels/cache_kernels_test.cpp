// The operations of a decode step on caches of every kind: one rotary key for all heads, widths of
// no even share, quantised planes, blocks. On the CPU the references against plain tensors, on a
// GPU the kernels against the references in fp32.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "kernels/cache_planes.h"
#include "kernels/decode_ops.h"
#include "kernels/device.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

using kernels::Codec;
using test::close;
using test::in_blocks;
using test::numbers_of;
using test::plane_of;
using test::poison_unseen;
using test::same_bits;

constexpr Codec kCodecs[] = {Codec::None, Codec::Int8, Codec::Fp8, Codec::Int4};
constexpr Codec kPacked[] = {Codec::Int8, Codec::Fp8, Codec::Int4};

const char* name_of(Codec codec) {
  return codec == Codec::None   ? "plain"
         : codec == Codec::Int8 ? "int8"
         : codec == Codec::Fp8  ? "fp8"
                                : "int4";
}

bool has_device() {
  return kernels::built_with_cuda() && at::globalContext().hasCUDA();
}

kernels::DecodeSpan span_of(const std::vector<int>& first, int count, at::Device device) {
  return {at::tensor(first, at::kInt).to(device), at::tensor({count}, at::kInt).to(device), count};
}

struct MlaCase {
  std::int64_t batch, heads, kv_heads, rope, latent;
  std::vector<int> first;
  int count;
  Codec rope_codec = Codec::None, latent_codec = Codec::None;
  std::int64_t block = 0;  // tokens; 0: no table
};

void PrintTo(const MlaCase& c, std::ostream* out) {
  *out << c.batch << "x" << c.heads << "/" << c.kv_heads << " R " << c.rope << " "
       << name_of(c.rope_codec) << " C " << c.latent << " " << name_of(c.latent_codec) << " T "
       << c.count << " block " << c.block;
}

struct MlaInputs {
  at::Tensor q_rope, q_latent;
  kernels::Plane k_rope, latent;
  kernels::DecodeSpan span;
  at::Tensor rope_numbers, latent_numbers;  // what the planes hold, fp32
  double scale;
};

MlaInputs make_mla(const MlaCase& c, at::Device device, at::ScalarType dtype) {
  const auto options = at::TensorOptions().device(device).dtype(at::kFloat);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, options).to(dtype); };
  MlaInputs in;
  const std::int64_t capacity = (c.count + 31) / 16 * 16;
  in.q_rope = draw({c.batch, c.heads, c.rope});
  in.q_latent = draw({c.batch, c.heads, c.latent});
  in.k_rope = plane_of(draw({c.batch, capacity, c.kv_heads, c.rope}), c.rope_codec);
  in.latent = plane_of(draw({c.batch, capacity, 1, c.latent}), c.latent_codec);
  in.rope_numbers = numbers_of(in.k_rope, dtype);
  in.latent_numbers = numbers_of(in.latent, dtype).squeeze(2);
  in.span = span_of(c.first, c.count, device);
  poison_unseen(in.k_rope, c.first, c.count);
  poison_unseen(in.latent, c.first, c.count);
  if (c.block > 0) {
    const at::Tensor table = test::block_table(c.batch, c.count, c.block);
    in.k_rope = in_blocks(in.k_rope, table, c.count, c.block);
    in.latent = in_blocks(in.latent, table, c.count, c.block);
    in.span.block_table = table.to(device);
  }
  // Scores of this scale make peaked, not uniform, attention.
  in.scale = 2.0 / std::sqrt(static_cast<double>(c.rope + c.latent));
  return in;
}

at::Tensor want_of(const MlaInputs& in) {
  kernels::DecodeSpan rows = in.span;
  rows.block_table = at::Tensor();
  return kernels::reference::mla_decode(in.q_rope.to(at::kFloat),
                                        in.q_latent.to(at::kFloat),
                                        in.rope_numbers,
                                        in.latent_numbers,
                                        rows,
                                        in.scale);
}

TEST(CacheKernels, MlaReferenceReadsEveryKindOfPlane) {
  at::manual_seed(11);
  for (const Codec rope : kCodecs) {
    for (const Codec latent : kCodecs) {
      for (const std::int64_t block : {0, 16, 32}) {
        for (const std::int64_t kv : {1, 2}) {
          const MlaCase c{2, 4, kv, 10, 37, {0, 5}, 41, rope, latent, block};
          SCOPED_TRACE(::testing::PrintToString(c));
          const MlaInputs in = make_mla(c, at::kCPU, at::kFloat);
          const at::Tensor got =
              kernels::mla_decode(in.q_rope, in.q_latent, in.k_rope, in.latent, in.span, in.scale);
          EXPECT_TRUE(close(got, want_of(in), {1e-5, 1e-5}));
          EXPECT_FALSE(close(got * 1.001, want_of(in), {1e-5, 1e-5})) << "planted";
        }
      }
    }
  }
}

struct MhaInputs {
  at::Tensor q;
  kernels::Plane k, v;
  kernels::DecodeSpan span;
  at::Tensor want;
  double scale;
};

MhaInputs make_mha(const MlaCase& c, at::Device device, at::ScalarType dtype) {
  const auto options = at::TensorOptions().device(device).dtype(at::kFloat);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, options).to(dtype); };
  MhaInputs in;
  const std::int64_t capacity = (c.count + 31) / 16 * 16;
  in.q = draw({c.batch, c.heads, c.rope});
  in.k = plane_of(draw({c.batch, capacity, c.kv_heads, c.rope}), c.rope_codec);
  in.v = plane_of(draw({c.batch, capacity, c.kv_heads, c.rope}), c.rope_codec);
  in.span = span_of(c.first, c.count, device);
  in.scale = 2.0 / std::sqrt(static_cast<double>(c.rope));
  in.want = kernels::reference::mha_decode(
      in.q.to(at::kFloat), numbers_of(in.k, dtype), numbers_of(in.v, dtype), in.span, in.scale);
  poison_unseen(in.k, c.first, c.count);
  poison_unseen(in.v, c.first, c.count);
  if (c.block > 0) {
    const at::Tensor table = test::block_table(c.batch, c.count, c.block);
    in.k = in_blocks(in.k, table, c.count, c.block);
    in.v = in_blocks(in.v, table, c.count, c.block);
    in.span.block_table = table.to(device);
  }
  return in;
}

TEST(CacheKernels, MhaReferenceReadsEveryKindOfPlane) {
  at::manual_seed(12);
  for (const Codec codec : kCodecs) {
    for (const std::int64_t block : {0, 16}) {
      const MlaCase c{2, 4, 2, 10, 0, {0, 5}, 41, codec, codec, block};
      const MhaInputs in = make_mha(c, at::kCPU, at::kFloat);
      EXPECT_TRUE(
          close(kernels::mha_decode(in.q, in.k, in.v, in.span, in.scale), in.want, {1e-5, 1e-5}))
          << name_of(codec) << block;
    }
  }
}

// The newest token's numbers of every plane, fp32 [B, n].
at::Tensor stored_token(const kernels::Plane& plane, const kernels::DecodeSpan& span) {
  const std::int64_t place = span.count.item<std::int64_t>() - 1, block = plane.payload.size(1);
  const at::Tensor numbers = numbers_of(plane, at::kFloat).flatten(2);
  if (!span.block_table.defined()) return numbers.select(1, place);
  return numbers.index_select(0, span.block_table.select(1, place / block))
      .select(1, place % block);
}

kernels::Plane empty_plane(std::int64_t rows,
                           std::int64_t tokens,
                           std::int64_t heads,
                           std::int64_t dim,
                           Codec codec,
                           at::TensorOptions options) {
  const kernels::Plane plane = plane_of(at::zeros({rows, tokens, heads, dim}, options), codec);
  test::poison(plane.payload);
  if (plane.scales.defined()) test::poison(plane.scales);
  return plane;
}

struct Appended {
  at::Tensor projected, q_rope;
  kernels::Plane first, second, third;
};

// rope_append of drawn inputs; the same seed gives the same ones.
Appended append_heads(std::int64_t heads,
                      std::int64_t kv,
                      std::int64_t rope,
                      Codec rope_codec,
                      Codec value_codec,
                      bool paged,
                      const at::TensorOptions& options,
                      kernels::Backend backend) {
  at::manual_seed(13);
  const std::int64_t batch = 3, nope = 8, dim = 128, latent = 264, values = kv * rope;
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, at::kFloat).to(options); };
  const at::Tensor angles = at::rand({batch, dim}, at::kFloat);
  kernels::DecodeSpan span = span_of({0, 0, 0}, 21, options.device());
  std::int64_t rows = batch, tokens = 32;
  if (paged) {
    span.block_table = at::tensor({4, 1, 0, 6, 5, 3}, at::kInt).view({3, 2}).to(options.device());
    rows = 7;
    tokens = 16;
  }
  Appended out;
  out.first = empty_plane(rows, tokens, kv, rope, rope_codec, options);
  out.second = empty_plane(rows, tokens, 1, latent, value_codec, options);
  out.third = empty_plane(rows, tokens, kv, rope, value_codec, options);
  const kernels::RopeAppend op{draw({batch, heads * (rope + nope) + kv * rope + latent + values}),
                               angles.cos().to(options),
                               angles.sin().to(options),
                               at::randint(dim, {kv, rope}, at::kLong).to(options.device()),
                               out.first,
                               out.second,
                               out.third,
                               heads,
                               nope};
  kernels::rope_append(op, span, backend);
  out.projected = op.projected;
  out.q_rope = op.projected.slice(1, 0, heads * rope);
  return out;
}

TEST(CacheKernels, RopeAppendQuantises) {
  for (const bool paged : {false, true}) {
    const Appended plain =
        append_heads(4, 2, 8, Codec::None, Codec::None, paged, at::kFloat, kernels::Backend::Auto);
    kernels::DecodeSpan span = span_of({0, 0, 0}, 21, at::kCPU);
    if (paged) span.block_table = at::tensor({4, 1, 0, 6, 5, 3}, at::kInt).view({3, 2});
    for (const Codec codec : kPacked) {
      const Appended got =
          append_heads(4, 2, 8, codec, codec, paged, at::kFloat, kernels::Backend::Auto);
      EXPECT_TRUE(same_bits(got.q_rope, plain.q_rope));
      for (const auto& [packed, exact] : {std::pair{&got.first, &plain.first},
                                          {&got.second, &plain.second},
                                          {&got.third, &plain.third}}) {
        const at::Tensor token = stored_token(*exact, span);  // [B, n]
        const kernels::Plane want =
            plane_of(token.view({token.size(0), 1, exact->heads, exact->dim}), codec);
        EXPECT_TRUE(same_bits(stored_token(*packed, span),
                              numbers_of(want, at::kFloat).flatten(2).select(1, 0)))
            << name_of(codec);
        // And nothing but the token: its scales, where everything else is NaN.
        EXPECT_EQ(packed->scales.isnan().logical_not().sum().item<std::int64_t>(),
                  3 * packed->scales.size(2));
      }
    }
  }
}

kernels::SharedRopeAppend shared_op(std::int64_t heads,
                                    std::int64_t components,
                                    std::int64_t latent,
                                    Codec rope_codec,
                                    Codec latent_codec,
                                    const at::TensorOptions& options) {
  at::manual_seed(14);
  const std::int64_t batch = 2, dim = 16;
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, at::kFloat).to(options); };
  const at::Tensor angles = at::rand({batch, dim / 2}, at::kFloat).repeat({1, 2});
  const at::Tensor pairs = at::randint(dim / 2, {components}, at::kLong);
  kernels::SharedRopeAppend op;
  op.projected = draw({batch, heads * dim + 2 * components + latent});
  op.q_mix = draw({heads, components, 2});
  op.cos = angles.cos().to(options);
  op.sin = angles.sin().to(options);
  op.rope_dims = at::cat({pairs, pairs + dim / 2}).to(options.device());
  op.k_rope = empty_plane(batch, 20, 1, 2 * components, rope_codec, options);
  op.latent = empty_plane(batch, 20, 1, latent, latent_codec, options);
  return op;
}

// q_hm = conj(w_hm) q_h,j(m), turned by e^{i theta}; the key turned likewise.
TEST(CacheKernels, SharedRopeAppendIsTheComplexFormula) {
  const std::int64_t heads = 3, n = 5, latent = 12, dim = 16;
  const auto op = shared_op(heads, n, latent, Codec::None, Codec::None, at::kFloat);
  const auto span = span_of({0, 0}, 9, at::kCPU);
  const at::Tensor got = kernels::shared_rope_append(op, span);
  const auto complex_of = [](const at::Tensor& re, const at::Tensor& im) {
    return at::complex(re.contiguous(), im.contiguous());
  };
  const at::Tensor low = op.rope_dims.slice(0, 0, n), high = op.rope_dims.slice(0, n);
  const at::Tensor turn = complex_of(op.cos.index_select(1, low), op.sin.index_select(1, low));
  const at::Tensor q = op.projected.slice(1, 0, heads * dim).view({2, heads, dim});
  const at::Tensor mixed = complex_of(q.index_select(2, low), q.index_select(2, high)) *
                           complex_of(op.q_mix.select(2, 0), -op.q_mix.select(2, 1)) *
                           turn.unsqueeze(1);
  const auto halves = [](const at::Tensor& z) { return at::cat({at::real(z), at::imag(z)}, -1); };
  EXPECT_TRUE(close(got, halves(mixed), {1e-5, 1e-5}));
  EXPECT_FALSE(close(got, halves(mixed.conj()), {1e-5, 1e-5})) << "planted";
  const at::Tensor key = op.projected.slice(1, heads * dim, heads * dim + 2 * n);
  EXPECT_TRUE(close(op.k_rope.payload.select(1, 8).flatten(1),
                    halves(complex_of(key.slice(1, 0, n), key.slice(1, n)) * turn),
                    {1e-5, 1e-5}));
  EXPECT_TRUE(same_bits(op.latent.payload.select(1, 8).flatten(1), op.projected.slice(1, -latent)));
  EXPECT_EQ(op.latent.payload.isnan().logical_not().sum().item<std::int64_t>(), 2 * latent);
}

struct HalfType {
  at::ScalarType dtype;
  double allowed;
};
const std::vector<HalfType> kHalfTypes{{at::kBFloat16, 2e-2}, {at::kHalf, 3e-3}};

void expect_mla(const std::vector<MlaCase>& cases) {
  const at::NoGradGuard no_grad;
  for (const HalfType& type : kHalfTypes) {
    for (const MlaCase& c : cases) {
      SCOPED_TRACE(::testing::PrintToString(c));
      const MlaInputs in = make_mla(c, at::kCUDA, type.dtype);
      const at::Tensor got = kernels::mla_decode(in.q_rope,
                                                 in.q_latent,
                                                 in.k_rope,
                                                 in.latent,
                                                 in.span,
                                                 in.scale,
                                                 kernels::Backend::Cuda)
                                 .to(at::kFloat);
      const at::Tensor want = want_of(in);
      EXPECT_TRUE(close(got, want, {type.allowed, type.allowed}));
      EXPECT_FALSE(close(got + 0.1, want, {type.allowed, type.allowed})) << "planted";
    }
  }
}

TEST(CacheKernelsCuda, SharedRopeKey) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(21);
  std::vector<MlaCase> cases;
  for (const int count : {1, 2, 63, 64, 65, 1000}) {
    cases.push_back({1, 32, 1, 512, 1024, {0}, count});
    cases.push_back({2, 4, 1, 16, 64, {0, 0}, count});
    cases.push_back({2, 32, 1, 104, 232, {0, 0}, count});
  }
  cases.push_back({1, 32, 1, 512, 1536, {0}, 8192});
  cases.push_back({3, 32, 1, 232, 512, {0, 100, 299}, 300});  // ragged
  cases.push_back({2, 40, 1, 58, 1000, {3, 0}, 400});
  cases.push_back({2, 3, 1, 2, 36, {3, 0}, 77});
  cases.push_back({1, 1, 1, 130, 700, {0}, 99});
  cases.push_back({2, 32, 1, 1024, 1024, {0, 7}, 222});
  cases.push_back({2, 32, 1, 256, 2048, {0, 7}, 222});
  cases.push_back({2, 14, 1, 64, 904, {0, 7}, 222});
  cases.push_back({64, 32, 1, 512, 1024, std::vector<int>(64, 0), 100});
  expect_mla(cases);
}

TEST(CacheKernelsCuda, KeysOfEachHeadInAnyWidth) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(22);
  std::vector<MlaCase> cases;
  for (const int count : {1, 2, 63, 64, 65, 1000})
    cases.push_back({2, 32, 32, 32, 1000, {0, 0}, count});
  cases.push_back({1, 32, 32, 32, 232, {0}, 8192});
  cases.push_back({3, 32, 8, 16, 4, {0, 100, 299}, 300});
  cases.push_back({2, 40, 5, 64, 1304, {3, 0}, 400});
  cases.push_back({2, 3, 3, 8, 100, {3, 0}, 77});
  cases.push_back({2, 40, 40, 128, 520, {0, 7}, 222});
  cases.push_back({2, 32, 32, 32, 1804, {0, 7}, 222});
  expect_mla(cases);
}

TEST(CacheKernelsCuda, QuantisedPlanes) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(23);
  std::vector<MlaCase> cases;
  for (const Codec latent : kCodecs) {
    for (const Codec rope : kCodecs) {
      if (rope == Codec::None && latent == Codec::None) continue;
      for (const int count : {1, 2, 63, 64, 65, 1000})
        cases.push_back({1, 32, 32, 32, 1024, {0}, count, rope, latent});
      cases.push_back({3, 32, 32, 16, 512, {0, 100, 299}, 300, rope, latent});
      cases.push_back({2, 40, 5, 64, 1304, {3, 0}, 400, rope, latent});
      cases.push_back({2, 3, 3, 8, 64, {3, 0}, 77, rope, latent});
      cases.push_back({2, 32, 8, 24, 256, {3, 0}, 400, rope, latent});
      cases.push_back({2, 32, 1, 512, 1024, {0, 9}, 1000, rope, latent});
      cases.push_back({2, 32, 1, 104, 232, {0, 9}, 333, rope, latent});
      cases.push_back({2, 40, 1, 56, 2048, {0, 9}, 333, rope, latent});
      cases.push_back({1, 3, 1, 16, 40, {0}, 65, rope, latent});
    }
    if (latent != Codec::None)
      cases.push_back({1, 32, 32, 32, 1024, {0}, 8192, Codec::None, latent});
  }
  cases.push_back({64, 32, 32, 32, 1024, std::vector<int>(64, 0), 100, Codec::Int8, Codec::Int4});
  expect_mla(cases);
}

TEST(CacheKernelsCuda, Blocks) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(24);
  std::vector<MlaCase> cases;
  for (const std::int64_t block : {16, 64, 256}) {
    for (const int count : {1, 2, 63, 64, 65, 1000}) {
      cases.push_back({2, 32, 32, 32, 1024, {0, 0}, count, Codec::None, Codec::None, block});
      cases.push_back({2, 32, 1, 512, 1024, {0, 0}, count, Codec::None, Codec::None, block});
    }
    cases.push_back({2, 32, 32, 32, 1024, {0, 37}, 500, Codec::Int8, Codec::Int4, block});
    cases.push_back({2, 40, 5, 64, 232, {5, 0}, 8192, Codec::Int8, Codec::Int8, block});
    cases.push_back({2, 32, 1, 104, 232, {5, 0}, 333, Codec::None, Codec::Fp8, block});
  }
  expect_mla(cases);
}

TEST(CacheKernelsCuda, MhaOnEveryKindOfPlane) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  at::manual_seed(25);
  std::vector<MlaCase> cases;  // rope: D; latent: unused
  for (const Codec codec : kCodecs) {
    for (const int count : {1, 2, 63, 64, 65, 1000, 8192})
      cases.push_back({1, 32, 32, 128, 0, {0}, count, codec, codec});
    cases.push_back({3, 32, 8, 128, 0, {0, 100, 299}, 300, codec, codec});
    cases.push_back({2, 32, 4, 64, 0, {7, 0}, 222, codec, codec});
    cases.push_back({2, 6, 3, 32, 0, {7, 0}, 222, codec, codec});
    cases.push_back({2, 40, 40, 128, 0, {7, 0}, 222, codec, codec});
    for (const std::int64_t block : {16, 128}) {
      cases.push_back({2, 32, 8, 128, 0, {0, 37}, 500, codec, codec, block});
      cases.push_back({2, 32, 32, 64, 0, {0, 0}, 65, codec, codec, block});
    }
  }
  for (const HalfType& type : kHalfTypes) {
    for (const MlaCase& c : cases) {
      SCOPED_TRACE(::testing::PrintToString(c));
      const MhaInputs in = make_mha(c, at::kCUDA, type.dtype);
      const at::Tensor got =
          kernels::mha_decode(in.q, in.k, in.v, in.span, in.scale, kernels::Backend::Cuda)
              .to(at::kFloat);
      EXPECT_TRUE(close(got, in.want, {type.allowed, type.allowed}));
    }
  }
}

// Bit for bit, but for rows that nobody wrote (they hold the same poison).
void expect_same_plane(const kernels::Plane& got, const kernels::Plane& want) {
  EXPECT_TRUE(same_bits(got.payload, want.payload));
  if (want.scales.defined()) {
    EXPECT_TRUE(same_bits(got.scales, want.scales));
  }
}

TEST(CacheKernelsCuda, AppendsEqualReferencesBitForBit) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const auto options = at::TensorOptions().device(at::kCUDA).dtype(dtype);
    for (const Codec rope : kCodecs) {
      for (const Codec latent : kCodecs) {
        for (const bool paged : {false, true}) {
          SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " " << name_of(rope) << " "
                                            << name_of(latent) << (paged ? " paged" : ""));
          for (const auto& [heads, kv, width] : {std::tuple{8, 4, 32}, {6, 3, 24}, {4, 4, 128}}) {
            const Appended
                got = append_heads(
                    heads, kv, width, rope, latent, paged, options, kernels::Backend::Cuda),
                want = append_heads(
                    heads, kv, width, rope, latent, paged, options, kernels::Backend::Reference);
            EXPECT_TRUE(same_bits(got.q_rope, want.q_rope));
            expect_same_plane(got.first, want.first);
            expect_same_plane(got.second, want.second);
            expect_same_plane(got.third, want.third);
          }
        }
        for (const auto& [n, width] : {std::pair{8, 40}, {29, 232}, {256, 1024}}) {
          SCOPED_TRACE(::testing::Message() << "shared " << n << " " << width);
          const auto got = shared_op(6, n, width, rope, latent, options),
                     want = shared_op(6, n, width, rope, latent, options);
          const auto span = span_of({0, 0}, 9, at::kCUDA);
          EXPECT_TRUE(
              same_bits(kernels::shared_rope_append(got, span, kernels::Backend::Cuda),
                        kernels::shared_rope_append(want, span, kernels::Backend::Reference)));
          expect_same_plane(got.k_rope, want.k_rope);
          expect_same_plane(got.latent, want.latent);
        }
      }
    }
  }
}

// The device's bits are the CPU's: a cache filled on one reads the same on the other.
TEST(CacheKernelsCuda, CodecsGiveTheBitsOfTheCpu) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(26);
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor values = (at::randn({2, 50, 264}) * at::exp(at::randn({2, 50, 1}))).to(dtype);
    for (const Codec codec : kPacked) {
      for (const std::int64_t group : {24, 32, 264}) {
        const auto want = kernels::encode(values, codec, group),
                   got = kernels::encode(values.to(at::kCUDA), codec, group);
        EXPECT_TRUE(same_bits(got.payload.cpu(), want.payload)) << name_of(codec) << group;
        EXPECT_TRUE(same_bits(got.scales.cpu(), want.scales)) << name_of(codec) << group;
      }
    }
  }
}

}  // namespace
}  // namespace vmla
