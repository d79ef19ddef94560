#include "model/latent_basis.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <string>
#include <tuple>

namespace vmla {
namespace {

// Smaller eigenvalues, as a share of the mean or the largest, count as this much: a latent that
// nothing reads, or that is always zero, stays finite.
constexpr double kFloor = 1e-8;

// The orthonormal DCT-II [n, n]: every row mixes all dimensions with entries of like size.
at::Tensor cosine_transform(std::int64_t n, const at::TensorOptions& options) {
  const at::Tensor i = at::arange(n, options);
  at::Tensor out =
      at::cos(i.unsqueeze(1) * (i + 0.5) * (std::acos(-1.0) / static_cast<double>(n))) *
      std::sqrt(2.0 / static_cast<double>(n));
  out[0].mul_(std::sqrt(0.5));
  return out;
}

}  // namespace

LatentBasis even_basis(const at::Tensor& down, const at::Tensor& up) {
  const at::Tensor a = down.to(at::kDouble), u = up.to(at::kDouble);
  at::Tensor covariance = a.matmul(a.t());
  covariance.diagonal().add_(kFloor * covariance.diagonal().mean());
  // c = L w with w of unit covariance; w's errors weigh L^T U^T U L = V diag(l) V^T.
  const at::Tensor lower = at::linalg_cholesky(covariance);
  const at::Tensor read = u.matmul(lower);
  at::Tensor weights, vectors;
  std::tie(weights, vectors) = at::linalg_eigh(read.t().matmul(read));
  weights = weights.flip(0);
  vectors = vectors.flip(1);
  weights = weights.clamp_min(kFloor * weights[0].item<double>());
  // l^1/4 V^T w has the mean squares l^1/2, and its errors the weights l^1/2; then all are mixed.
  const at::Tensor mix = cosine_transform(down.size(0), a.options());
  const at::Tensor root = weights.pow(0.25);
  const at::Tensor inner = at::linalg_solve_triangular(
      lower, at::eye(down.size(0), a.options()), /*upper=*/false);  // L^-1
  return {mix.matmul(root.unsqueeze(1) * vectors.t()).matmul(inner),
          lower.matmul(vectors / root).matmul(mix.t())};
}

void spread_latents(Vlm& model) {
  std::map<std::string, at::Tensor*> parameters;
  for (const NamedParameter& p : model.parameters()) parameters[p.name] = p.tensor;
  const auto spread = [&](const std::string& prefix,
                          const std::string& down_name,
                          const std::vector<std::string>& up_names) {
    const auto found = parameters.find(prefix + down_name + ".weight");
    if (found == parameters.end()) return;
    at::Tensor& down = *found->second;
    std::vector<at::Tensor> ups;
    for (const auto& name : up_names) ups.push_back(*parameters.at(prefix + name + ".weight"));
    const LatentBasis basis = even_basis(down, at::cat(ups, 0));
    down = basis.to.matmul(down.to(at::kDouble)).to(model.dtype());
    for (const auto& name : up_names) {
      at::Tensor& up = *parameters.at(prefix + name + ".weight");
      up = up.to(at::kDouble).matmul(basis.from).to(model.dtype());
    }
  };
  for (std::size_t layer = 0; layer < model.decoder().layers.size(); ++layer) {
    const std::string prefix = fmt::format("language_model.model.layers.{}.self_attn.", layer);
    for (const char* own : {"kv_proj.", "kv_proj_img.", "kv_proj_text."})
      spread(prefix + own, "down_kv", {"up_k", "up_v"});
    spread(prefix + "kv_proj.", "down_k", {"up_k"});
    spread(prefix + "kv_proj.", "down_v", {"up_v"});
  }
}

}  // namespace vmla
