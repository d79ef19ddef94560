// The operations of a decode step: the references against plain formulas on the CPU, the CUDA
// kernels against the references (in fp32) where there is a device.
#include "kernels/decode_ops.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "kernels/append_query.h"
#include "kernels/device.h"
#include "kernels/latent_values.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

bool has_device() {
  return kernels::built_with_cuda() && at::globalContext().hasCUDA();
}

kernels::DecodeSpan span_of(const std::vector<int>& first, int count, at::Device device) {
  return {at::tensor(first, at::kInt).to(device), at::tensor({count}, at::kInt).to(device), count};
}

// Rows that no query sees are NaN: reading one shows in the result.
void poison(const at::Tensor& plane, const std::vector<int>& first, int count) {
  for (std::size_t b = 0; b < first.size(); ++b) {
    const at::Tensor row = plane[static_cast<std::int64_t>(b)];
    row.slice(0, 0, first[b]).fill_(std::numeric_limits<float>::quiet_NaN());
    row.slice(0, count).fill_(std::numeric_limits<float>::quiet_NaN());
  }
}

struct MlaCase {
  std::int64_t batch, heads, kv_heads, rope, latent, capacity;
  std::vector<int> first;
  int count;
};

struct MlaInputs {
  at::Tensor q_rope, q_latent, k_rope, latent;
  kernels::DecodeSpan span;
};

MlaInputs make_mla(const MlaCase& c, at::Device device, at::ScalarType dtype) {
  const auto options = at::TensorOptions().device(device).dtype(at::kFloat);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, options).to(dtype); };
  MlaInputs in;
  in.q_rope = draw({c.batch, c.heads, c.rope});
  in.q_latent = draw({c.batch, c.heads, c.latent});
  in.k_rope = draw({c.batch, c.capacity, c.kv_heads, c.rope});
  in.latent = draw({c.batch, c.capacity, c.latent});
  poison(in.k_rope, c.first, c.count);
  poison(in.latent, c.first, c.count);
  in.span = span_of(c.first, c.count, device);
  return in;
}

// Scores of this scale make peaked, not uniform, attention.
double mla_scale(const MlaCase& c) {
  return 2.0 / std::sqrt(static_cast<double>(c.rope + c.latent));
}

TEST(DecodeOps, MlaReferenceIsTheFormula) {
  at::manual_seed(1);
  const MlaCase c{2, 4, 2, 8, 16, 12, {0, 3}, 9};
  const MlaInputs in = make_mla(c, at::kCPU, at::kFloat);
  const at::Tensor got =
      kernels::mla_decode(in.q_rope, in.q_latent, in.k_rope, in.latent, in.span, 0.25);
  for (std::int64_t b = 0; b < c.batch; ++b) {
    for (std::int64_t h = 0; h < c.heads; ++h) {
      std::vector<double> weights;
      double total = 0;
      for (std::int64_t t = c.first[static_cast<std::size_t>(b)]; t < c.count; ++t) {
        const double score = (in.q_rope[b][h] * in.k_rope[b][t][h / 2]).sum().item<double>() +
                             (in.q_latent[b][h] * in.latent[b][t]).sum().item<double>();
        weights.push_back(std::exp(0.25 * score));
        total += weights.back();
      }
      at::Tensor want = at::zeros({c.latent});
      for (std::size_t i = 0; i < weights.size(); ++i) {
        want += weights[i] / total *
                in.latent[b][c.first[static_cast<std::size_t>(b)] + static_cast<std::int64_t>(i)];
      }
      EXPECT_TRUE(test::close(got[b][h], want, {1e-5, 1e-5}));
      EXPECT_FALSE(test::close(got[b][h], want * 1.001, {1e-5, 1e-5})) << "planted";
    }
  }
}

TEST(DecodeOps, MhaReferenceIsSdpa) {
  at::manual_seed(2);
  const at::Tensor q = at::randn({2, 4, 8}), k = at::randn({2, 10, 2, 8}),
                   v = at::randn({2, 10, 2, 8});
  const std::vector<int> first{2, 0};
  poison(k, first, 7);
  poison(v, first, 7);
  const at::Tensor got =
      kernels::mha_decode(q, k, v, span_of(first, 7, at::kCPU), 1.0 / std::sqrt(8.0));
  for (std::int64_t b = 0; b < 2; ++b) {
    const auto seen = [&](const at::Tensor& plane) {
      return plane[b]
          .slice(0, first[static_cast<std::size_t>(b)], 7)
          .transpose(0, 1)
          .repeat_interleave(2, 0);
    };
    const at::Tensor want = at::scaled_dot_product_attention(
        q[b].unsqueeze(1).unsqueeze(0), seen(k).unsqueeze(0), seen(v).unsqueeze(0));
    EXPECT_TRUE(test::close(got[b], want[0].squeeze(1), {1e-5, 1e-5}));
  }
}

TEST(DecodeOps, HeadProductsAreEinsums) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({3, 4, 5}), down = at::randn({2, 6, 5}), up = at::randn({2, 5, 7});
  const auto wide = [](const at::Tensor& w) { return w.repeat_interleave(2, 0); };
  EXPECT_TRUE(test::close(
      kernels::heads_linear(x, down), at::einsum("bhc,hdc->bhd", {x, wide(down)}), {1e-5, 1e-5}));
  EXPECT_TRUE(test::close(kernels::heads_linear_transposed(x, up),
                          at::einsum("bhn,hnc->bhc", {x, wide(up)}),
                          {1e-5, 1e-5}));
}

TEST(DecodeOps, SplitsFillTheMachineAndNoMore) {
  EXPECT_EQ(kernels::plan_splits(32, 1, 132, 48, 32), 1);      // nothing to split
  EXPECT_EQ(kernels::plan_splits(8192, 132, 132, 48, 32), 1);  // already full
  EXPECT_EQ(kernels::plan_splits(8192, 16, 132, 48, 32), 8);   // 128 of 132 in one wave
  EXPECT_LE(kernels::plan_splits(1136, 1, 132, 48, 32), 35);   // at least 32 tokens each
  EXPECT_GT(kernels::plan_splits(1136, 1, 132, 48, 32), 8);
}

TEST(DecodeOps, RopeAppendWritesOneRow) {
  at::manual_seed(4);
  const std::int64_t heads = 4, kv = 2, rope = 4, nope = 3, dim = 8, latent = 5;
  const at::Tensor row = at::randn({2, heads * (rope + nope) + kv * rope + latent});
  const at::Tensor angles = at::rand({2, dim / 2}).repeat({1, 2});
  at::Tensor k_rope = at::zeros({2, 6, kv, rope}), plane = at::zeros({2, 6, latent});
  kernels::RopeAppend op{row.clone(),
                         angles.cos(),
                         angles.sin(),
                         at::tensor({0, 2, 4, 6, 1, 3, 5, 7}, at::kLong).view({2, 4}),
                         k_rope,
                         plane,
                         {},
                         heads,
                         nope};
  kernels::rope_append(op, span_of({0, 0}, 4, at::kCPU));
  // Pair (0, 2) of query head 3 turns by key head 1's dimensions 1 and 5.
  const double c = std::cos(angles[1][1].item<double>()), s = std::sin(angles[1][1].item<double>());
  const double x = row[1][3 * rope].item<double>(), y = row[1][3 * rope + 2].item<double>();
  EXPECT_NEAR(op.projected[1][3 * rope].item<double>(), x * c - y * s, 1e-5);
  EXPECT_NEAR(op.projected[1][3 * rope + 2].item<double>(), y * c + x * s, 1e-5);
  EXPECT_TRUE(test::close(plane.select(1, 3), row.slice(1, -latent), {0, 0}));
  EXPECT_EQ(plane.count_nonzero().item<std::int64_t>(), 2 * latent);
  EXPECT_EQ(k_rope.count_nonzero().item<std::int64_t>(), 2 * kv * rope);
  EXPECT_NE(k_rope[0][3][1][2].item<float>(), 0.F);
}

struct HalfType {
  at::ScalarType dtype;
  double allowed;
};
const std::vector<HalfType> kHalfTypes{{at::kBFloat16, 2e-2}, {at::kHalf, 3e-3}};

TEST(DecodeOpsCuda, MlaKernelEqualsReference) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  at::manual_seed(5);
  std::vector<MlaCase> cases;
  for (const int count : {1, 2, 63, 64, 65, 1000}) {
    cases.push_back({1, 32, 32, 32, 1024, 1024, {0}, count});
    cases.push_back({2, 4, 4, 16, 64, 1024, {0, 0}, count});
  }
  cases.push_back({1, 32, 32, 32, 1024, 8192, {0}, 8192});
  cases.push_back({3, 32, 32, 16, 512, 300, {0, 100, 299}, 300});  // ragged
  cases.push_back({2, 32, 8, 32, 256, 500, {3, 0}, 400});          // GQA 4
  cases.push_back({2, 40, 40, 32, 768, 500, {3, 0}, 400});         // 40 heads
  cases.push_back({1, 40, 5, 64, 1536, 200, {0}, 190});            // GQA 8
  cases.push_back({2, 3, 3, 8, 128, 100, {0, 5}, 77});
  cases.push_back({1, 1, 1, 128, 256, 100, {0}, 99});
  cases.push_back({2, 32, 32, 64, 2048, 300, {0, 7}, 222});
  cases.push_back({1, 32, 32, 16, 1024, 300, {0}, 222});
  cases.push_back({64, 32, 32, 32, 1024, 100, std::vector<int>(64, 0), 100});
  // Long splits of a large cache: three stages, several steps, one that begins late.
  std::vector<int> ragged(16, 0);
  ragged[3] = 990;
  ragged[7] = 500;
  for (const int count : {1000, 1003, 2041}) {
    cases.push_back({16, 32, 32, 32, 1024, 8200, ragged, count});
    cases.push_back({16, 32, 8, 32, 512, 8200, ragged, count});
  }
  cases.push_back({16, 8, 8, 24, 256, 8200, ragged, 1003});
  cases.push_back({16, 16, 16, 16, 1536, 8200, ragged, 1003});
  for (const HalfType& type : kHalfTypes) {
    for (const MlaCase& c : cases) {
      SCOPED_TRACE(::testing::Message() << c.batch << "x" << c.heads << "/" << c.kv_heads << " R "
                                        << c.rope << " C " << c.latent << " T " << c.count);
      const MlaInputs in = make_mla(c, at::kCUDA, type.dtype);
      const double scale = mla_scale(c);
      const at::Tensor got = kernels::mla_decode(
          in.q_rope, in.q_latent, in.k_rope, in.latent, in.span, scale, kernels::Backend::Cuda);
      const at::Tensor want = kernels::reference::mla_decode(in.q_rope.to(at::kFloat),
                                                             in.q_latent.to(at::kFloat),
                                                             in.k_rope.to(at::kFloat),
                                                             in.latent.to(at::kFloat),
                                                             in.span,
                                                             scale);
      EXPECT_TRUE(test::close(got.to(at::kFloat), want, {type.allowed, type.allowed}));
      EXPECT_FALSE(test::close(got.to(at::kFloat) + 0.1, want, {type.allowed, type.allowed}))
          << "planted";
    }
  }
}

TEST(DecodeOpsCuda, LatentValuesEqualReference) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  at::manual_seed(11);
  struct Case {
    MlaCase mla;
    std::int64_t rows, weight_heads;
  };
  std::vector<Case> cases;
  for (const int count : {1, 33, 64, 400, 1000})
    cases.push_back({{1, 32, 32, 32, 1024, 1024, {0}, count}, 128, 32});
  cases.push_back({{2, 32, 8, 32, 256, 500, {3, 77}, 80}, 64, 8});  // GQA 4
  cases.push_back({{2, 4, 4, 16, 72, 300, {0, 9}, 150}, 32, 4});    // few columns
  cases.push_back({{2, 3, 3, 8, 128, 100, {0, 5}, 77}, 96, 3});     // three blocks a head
  cases.push_back({{2, 4, 4, 16, 64, 300, {0, 9}, 150}, 24, 4});    // two kernels: odd rows
  cases.push_back({{3, 4, 4, 16, 64, 80, {0, 9, 0}, 80}, 32, 4});   // two kernels: rows
  cases.push_back({{1, 4, 4, 16, 1536, 300, {9}, 150}, 32, 4});     // two kernels: width
  cases.push_back({{1, 4, 4, 16, 64, 4000, {0}, 3900}, 32, 4});     // two kernels: splits
  for (const HalfType& type : kHalfTypes) {
    for (const auto& [c, rows, weight_heads] : cases) {
      SCOPED_TRACE(::testing::Message() << c.batch << "x" << c.heads << "/" << c.kv_heads << " C "
                                        << c.latent << " T " << c.count << " rows " << rows);
      const MlaInputs in = make_mla(c, at::kCUDA, type.dtype);
      const at::Tensor up_v = (at::randn({weight_heads, rows, c.latent},
                                         at::TensorOptions().device(at::kCUDA).dtype(at::kFloat)) /
                               std::sqrt(static_cast<double>(c.latent)))
                                  .to(type.dtype);
      const double scale = mla_scale(c);
      const at::Tensor got = kernels::mla_decode_values(
          in.q_rope, in.q_latent, in.k_rope, in.latent, in.span, scale, up_v);
      const at::Tensor want = kernels::reference::heads_linear(
          kernels::reference::mla_decode(in.q_rope.to(at::kFloat),
                                         in.q_latent.to(at::kFloat),
                                         in.k_rope.to(at::kFloat),
                                         in.latent.to(at::kFloat),
                                         in.span,
                                         scale),
          up_v.to(at::kFloat));
      EXPECT_TRUE(test::close(got.to(at::kFloat), want, {type.allowed, type.allowed}));
      EXPECT_FALSE(test::close(got.to(at::kFloat) + 0.1, want, {type.allowed, type.allowed}))
          << "planted";
    }
  }
}

TEST(DecodeOpsCuda, MhaKernelEqualsReference) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  at::manual_seed(6);
  struct Case {
    std::int64_t batch, heads, kv_heads, dim, capacity;
    std::vector<int> first;
    int count;
  };
  std::vector<Case> cases;
  for (const int count : {1, 2, 63, 64, 65, 1000, 8192})
    cases.push_back({1, 32, 32, 128, 8192, {0}, count});
  cases.push_back({3, 32, 8, 128, 300, {0, 100, 299}, 300});
  cases.push_back({2, 32, 4, 64, 300, {7, 0}, 222});
  cases.push_back({2, 6, 3, 32, 300, {7, 0}, 222});
  cases.push_back({2, 40, 40, 128, 300, {7, 0}, 222});
  cases.push_back({64, 32, 32, 128, 100, std::vector<int>(64, 0), 100});
  for (const HalfType& type : kHalfTypes) {
    for (const Case& c : cases) {
      SCOPED_TRACE(::testing::Message() << c.batch << "x" << c.heads << "/" << c.kv_heads << " D "
                                        << c.dim << " T " << c.count);
      const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kFloat);
      const auto draw = [&](at::IntArrayRef shape) {
        return at::randn(shape, options).to(type.dtype);
      };
      const at::Tensor q = draw({c.batch, c.heads, c.dim}),
                       k = draw({c.batch, c.capacity, c.kv_heads, c.dim}),
                       v = draw({c.batch, c.capacity, c.kv_heads, c.dim});
      poison(k, c.first, c.count);
      poison(v, c.first, c.count);
      const auto span = span_of(c.first, c.count, at::kCUDA);
      const double scale = 2.0 / std::sqrt(static_cast<double>(c.dim));
      const at::Tensor got = kernels::mha_decode(q, k, v, span, scale, kernels::Backend::Cuda);
      const at::Tensor want = kernels::reference::mha_decode(
          q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat), span, scale);
      EXPECT_TRUE(test::close(got.to(at::kFloat), want, {type.allowed, type.allowed}));
    }
  }
}

TEST(DecodeOpsCuda, ProductsEqualReference) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  at::manual_seed(7);
  for (const HalfType& type : kHalfTypes) {
    const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kFloat);
    const auto draw = [&](at::IntArrayRef shape) {
      return at::randn(shape, options).to(type.dtype);
    };
    const auto wide = [](const at::Tensor& x) { return x.to(at::kFloat); };
    const test::Tolerance allowed{type.allowed, type.allowed};
    for (const std::int64_t batch : {1, 2, 3, 4, 5, 17, 33, 64}) {
      for (const auto& [rows, width] :
           {std::pair{7, 64}, {64, 96}, {333, 264}, {6144, 4096}, {512, 11008}, {32064, 512}}) {
        SCOPED_TRACE(::testing::Message() << batch << ": " << rows << "x" << width);
        const at::Tensor x = draw({batch, width}), bias = draw({rows}),
                         residual = draw({batch, rows});
        const at::Tensor w = (at::randn({rows, width}, options) / std::sqrt(width)).to(type.dtype);
        EXPECT_TRUE(test::close(wide(kernels::linear(x, w, bias, residual)),
                                wide(x).matmul(wide(w).t()) + wide(bias) + wide(residual),
                                allowed));
        EXPECT_TRUE(
            test::close(wide(kernels::linear(x, w, {}, {})), wide(x).matmul(wide(w).t()), allowed));
        EXPECT_FALSE(test::close(
            wide(kernels::linear(x, w, {}, {})) + 0.2, wide(x).matmul(wide(w).t()), allowed))
            << "planted";
        if (rows % 2 == 0) {
          EXPECT_TRUE(test::close(wide(kernels::gated_linear(x, w)),
                                  kernels::reference::gated_linear(wide(x), wide(w)),
                                  allowed));
        }
      }
      const at::Tensor row = draw({batch, 8 * 96 + 40});
      const at::Tensor q = row.slice(1, 40).view({batch, 8, 96});
      const at::Tensor up = (at::randn({8, 96, 1024}, options) / 10).to(type.dtype);
      EXPECT_TRUE(test::close(wide(kernels::heads_linear_transposed(q, up)),
                              kernels::reference::heads_linear_transposed(wide(q), wide(up)),
                              allowed));
      const at::Tensor latent = draw({batch, 8, 1024});
      const at::Tensor down = (at::randn({4, 128, 1024}, options) / 32).to(type.dtype);
      EXPECT_TRUE(test::close(wide(kernels::heads_linear(latent, down)),
                              kernels::reference::heads_linear(wide(latent), wide(down)),
                              allowed));
    }
  }
}

TEST(DecodeOpsCuda, RopeAppendEqualsReferenceBitForBit) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(8);
  const std::int64_t heads = 8, kv = 4, rope = 32, nope = 96, dim = 128, latent = 256;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const auto options = at::TensorOptions().device(at::kCUDA).dtype(dtype);
    const at::Tensor row = at::randn({3, heads * dim + kv * rope + latent}, options);
    const at::Tensor angles = at::rand({3, dim}, options);
    const at::Tensor dims =
        at::randint(dim, {kv, rope}, at::TensorOptions().dtype(at::kLong).device(at::kCUDA));
    const auto run = [&](kernels::Backend backend) {
      kernels::RopeAppend op{row.clone(),
                             angles.cos(),
                             angles.sin(),
                             dims,
                             at::zeros({3, 9, kv, rope}, options),
                             at::zeros({3, 9, latent}, options),
                             {},
                             heads,
                             nope};
      kernels::rope_append(op, span_of({0, 0, 0}, 5, at::kCUDA), backend);
      return std::vector<at::Tensor>{op.projected, op.k_rope.payload, op.plane_1.payload};
    };
    const auto got = run(kernels::Backend::Cuda), want = run(kernels::Backend::Reference);
    // The rotated keys' place in the row is scratch.
    EXPECT_TRUE(
        test::same_bits(got[0].slice(1, 0, heads * rope), want[0].slice(1, 0, heads * rope)));
    EXPECT_TRUE(test::same_bits(got[1], want[1]));
    EXPECT_TRUE(test::same_bits(got[2], want[2]));
  }
}

TEST(DecodeOpsCuda, AppendWithQueryIsBothApart) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(12);
  const std::int64_t heads = 8, kv = 4, rope = 32, nope = 96, dim = 128, latent = 264;
  for (const auto dtype : {at::kHalf, at::kBFloat16}) {
    for (const std::int64_t batch : {1, 3, 16, 17}) {
      SCOPED_TRACE(::testing::Message() << batch);
      const auto options = at::TensorOptions().device(at::kCUDA).dtype(dtype);
      const at::Tensor row = at::randn({batch, heads * dim + kv * rope + latent}, options);
      const at::Tensor angles = at::rand({batch, dim}, options);
      const at::Tensor up_k = at::randn({kv, nope, latent}, options);
      const std::vector<int> first(static_cast<std::size_t>(batch), 0);
      const auto span = span_of(first, 5, at::kCUDA);
      const auto make = [&] {
        return kernels::RopeAppend{row.clone(),
                                   angles.cos(),
                                   angles.sin(),
                                   {},
                                   at::zeros({batch, 9, kv, rope}, options),
                                   at::zeros({batch, 9, latent}, options),
                                   {},
                                   heads,
                                   nope};
      };
      const auto got = make(), want = make();
      const at::Tensor query = kernels::rope_append_query(got, span, up_k);
      kernels::rope_append(want, span);
      const at::Tensor q = row.narrow(1, heads * rope, heads * nope).view({batch, heads, nope});
      EXPECT_TRUE(test::same_bits(query, kernels::heads_linear_transposed(q, up_k)));
      EXPECT_TRUE(test::same_bits(got.projected, want.projected));
      EXPECT_TRUE(test::same_bits(got.k_rope.payload, want.k_rope.payload));
      EXPECT_TRUE(test::same_bits(got.plane_1.payload, want.plane_1.payload));
      EXPECT_NE(got.plane_1.payload.count_nonzero().item<std::int64_t>(), 0);
    }
  }
}

TEST(DecodeOpsCuda, SaysWhichShapesItTakes) {
  if (!has_device()) GTEST_SKIP() << "no CUDA device";
  EXPECT_FALSE(kernels::why_no_mla_kernel(32, 32, 32, 1024).has_value());
  EXPECT_FALSE(kernels::why_no_mla_kernel(32, 32, 32, 1000).has_value());
  EXPECT_FALSE(kernels::why_no_mla_kernel(32, 1, 512, 1024).has_value());
  EXPECT_FALSE(
      kernels::why_no_mla_kernel(32, 32, 32, 1024, kernels::Codec::Int8, kernels::Codec::Int4)
          .has_value());
  EXPECT_TRUE(kernels::why_no_mla_kernel(32, 32, 32, 1002).has_value());
  EXPECT_TRUE(kernels::why_no_mla_kernel(32, 32, 12, 1024).has_value());
  EXPECT_TRUE(kernels::why_no_mha_kernel(80).has_value());
}

}  // namespace
}  // namespace vmla
