#include "model/latent_basis.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nn/plane_codec.h"
#include "support/expect_close.h"
#include "support/tiny_model.h"

namespace vmla::test {
namespace {

// down [C, E] and up [rows, C] of a joint SVD whose singular values fall as 1 / (1 + i).
struct Factors {
  at::Tensor down, up;
};

Factors decaying_factors(std::int64_t latent, std::int64_t rows, std::int64_t hidden) {
  auto random = at::detail::createCPUGenerator(5);
  const auto orthonormal = [&](std::int64_t n) {
    return std::get<0>(at::linalg_qr(at::randn({n, latent}, random, at::kDouble)));
  };
  const at::Tensor singular = 1.0 / at::arange(1, latent + 1, at::kDouble);
  return {orthonormal(hidden).t().contiguous(), orthonormal(rows) * singular};
}

TEST(LatentBasis, ChangesNoProduct) {
  const Factors f = decaying_factors(48, 96, 64);
  const LatentBasis basis = even_basis(f.down, f.up);
  EXPECT_TRUE(close(basis.to.matmul(basis.from), at::eye(48, at::kDouble), {1e-9, 0}));
  EXPECT_TRUE(close(
      f.up.matmul(basis.from).matmul(basis.to.matmul(f.down)), f.up.matmul(f.down), {1e-9, 0}));
}

TEST(LatentBasis, EveryDimensionWeighsTheSame) {
  const Factors f = decaying_factors(64, 128, 96);
  const LatentBasis basis = even_basis(f.down, f.up);
  const at::Tensor squares = basis.to.matmul(f.down).square().sum(1);
  const at::Tensor weights = f.up.matmul(basis.from).square().sum(0);
  EXPECT_TRUE(close(squares, weights, {0, 1e-3}));
  EXPECT_LT((squares.max() / squares.min()).item<double>(), 4.0);
  EXPECT_GT((f.up.square().sum(0).max() / f.up.square().sum(0).min()).item<double>(), 1000.0);
}

// What int4 does to K and V, in the SVD's own basis and in the even one.
TEST(LatentBasis, Int4LosesLess) {
  const Factors f = decaying_factors(64, 128, 96);
  const LatentBasis basis = even_basis(f.down, f.up);
  const at::Tensor x = at::randn({96, 400}, at::detail::createCPUGenerator(6), at::kDouble);
  const CachePlane plane{"latent", {64}, plane_codec(CacheDtype::Int4, {64})};
  const auto error = [&](const at::Tensor& down, const at::Tensor& up) {
    const at::Tensor latent = down.matmul(x).t().unsqueeze(0);  // [1, 400, C]
    const at::Tensor kept = decode_plane(encode_plane(latent, plane), plane, at::kFloat);
    return up.matmul((kept.to(at::kDouble) - latent)[0].t()).square().mean().item<double>();
  };
  EXPECT_LT(error(basis.to.matmul(f.down), f.up.matmul(basis.from)), error(f.down, f.up) / 4);
}

TEST(LatentBasis, SurvivesLatentsThatNothingReadsOrThatAreZero) {
  Factors f = decaying_factors(16, 32, 24);
  f.down[3].zero_();
  f.up.select(1, 5).zero_();
  const LatentBasis basis = even_basis(f.down, f.up);
  EXPECT_TRUE(basis.to.isfinite().all().item<bool>());
  EXPECT_TRUE(close(
      f.up.matmul(basis.from).matmul(basis.to.matmul(f.down)), f.up.matmul(f.down), {1e-6, 0}));
}

double sum_of_down_projections(Vlm& model) {
  double sum = 0;
  for (const NamedParameter& p : model.parameters())
    if (p.name.find(".kv_proj.down") != std::string::npos) sum += p.tensor->sum().item<double>();
  return sum;
}

TEST(LatentBasis, AModelComputesTheSame) {
  std::vector<TinyShape> shapes;
  for (const SvdMethod method :
       {SvdMethod::Joint, SvdMethod::Split, SvdMethod::OnlyKey, SvdMethod::OnlyValue}) {
    shapes.emplace_back().mla = method;
  }
  shapes.emplace_back().shared_layers = {{{0, 2, 2, 5}, 19}, {{1, 7}, 36}};
  for (TinyShape& shape : shapes) {
    shape.qkv_bias = true;
    const auto model = make_tiny_model(shape);
    const at::Tensor ids = tiny_ids(shape, 2, 9);
    const at::Tensor want = model->forward(ids, {}, {});
    const double before = sum_of_down_projections(*model);
    spread_latents(*model);
    EXPECT_TRUE(close(model->forward(ids, {}, {}), want, {2e-4, 0}));
    EXPECT_NE(sum_of_down_projections(*model), before);
  }
}

TEST(LatentBasis, AModelWithoutLatentsStaysAsItIs) {
  const auto model = make_tiny_model({});
  const at::Tensor ids = tiny_ids({}, 2, 9);
  const at::Tensor want = model->forward(ids, {}, {});
  spread_latents(*model);
  EXPECT_TRUE(same_bits(model->forward(ids, {}, {}), want));
}

}  // namespace
}  // namespace vmla::test
