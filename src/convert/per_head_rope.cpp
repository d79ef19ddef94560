#include "convert/per_head_rope.h"

#include <ATen/ATen.h>

#include <limits>
#include <vector>

namespace vmla {
namespace {

constexpr double kRidge = 1e-3;  // of the diagonal

// Lost variance and coefficients when the pairs in `dropped` (1 or 0) lose their rotation.
struct Fit {
  at::Tensor lost;          // [B]
  at::Tensor coefficients;  // [B, 2P]: alphas, betas
};

// [..., 1, 1] -> [...]
at::Tensor number(const at::Tensor& x) {
  return x.squeeze(-1).squeeze(-1);
}

// gram [B, 3P, 3P], dropped [B, P].
Fit fit_dropped(const at::Tensor& gram, const at::Tensor& dropped, bool fold) {
  const std::int64_t pairs = dropped.size(-1);
  const at::Tensor plain = gram.slice(-2, 0, 2 * pairs).slice(-1, 0, 2 * pairs);
  const at::Tensor cross = gram.slice(-2, 0, 2 * pairs).slice(-1, 2 * pairs);
  const at::Tensor rotated = gram.slice(-2, 2 * pairs).slice(-1, 2 * pairs);
  // What is lost of the score: the sum of the dropped pairs' rotated parts.
  const at::Tensor target = dropped.unsqueeze(-1);
  const at::Tensor total = number(at::matmul(target.mT(), at::matmul(rotated, target)));
  const at::Tensor right = at::matmul(cross, target);  // [B, 2P, 1]
  const at::Tensor active = at::cat({dropped, dropped}, -1).unsqueeze(-1);
  at::Tensor x;
  if (fold) {
    const at::Tensor diagonal = plain.diagonal(0, -2, -1);
    // Kept pairs have no feature; the identity keeps the system regular, also for dead pairs.
    const at::Tensor tiny = diagonal.amax(-1, /*keepdim=*/true).clamp_min(1e-30) * 1e-12;
    const at::Tensor regular =
        plain * active * active.mT() +
        at::diag_embed((diagonal * kRidge + tiny) * active.squeeze(-1) + (1 - active.squeeze(-1)));
    x = at::cholesky_solve(right * active, at::linalg_cholesky(regular));
  } else {
    x = at::cat({target, at::zeros_like(target)}, -2);
  }
  const at::Tensor lost = total - 2 * number(at::matmul(x.mT(), right)) +
                          number(at::matmul(x.mT(), at::matmul(plain, x)));
  return {lost.clamp_min(0), x.squeeze(-1)};
}

}  // namespace

PairSelection select_pairs(const at::Tensor& pairs,
                           const at::Tensor& sensitivity,
                           std::int64_t kv_heads,
                           std::int64_t rope_dim,
                           bool fold) {
  const std::int64_t heads = pairs.size(0), group = heads / kv_heads, count = pairs.size(1) / 3;
  PairSelection out;
  std::vector<at::Tensor> kept, folds, lost, all;
  for (std::int64_t k = 0; k < kv_heads; ++k) {
    const at::Tensor gram = pairs.narrow(0, k * group, group);  // [G, 3P, 3P]
    const at::Tensor weight = sensitivity.narrow(0, k * group, group);
    at::Tensor dropped = at::ones({count}, gram.options());
    all.push_back(fit_dropped(gram, dropped.expand({group, -1}), fold).lost);
    for (std::int64_t i = 0; i < rope_dim / 2; ++i) {
      // Every pair that is left, tried at once: [P, P], row j keeps pair j, too.
      const at::Tensor tried = dropped * (1 - at::eye(count, gram.options()));
      at::Tensor costs = at::zeros({count}, gram.options());
      for (std::int64_t h = 0; h < group; ++h)
        costs = costs + fit_dropped(gram[h].expand({count, -1, -1}), tried, fold).lost * weight[h];
      const at::Tensor best =
          costs.masked_fill(dropped == 0, std::numeric_limits<double>::infinity()).argmin();
      dropped = dropped.index_fill(0, best.unsqueeze(0), 0.0);
    }
    const Fit fit = fit_dropped(gram, dropped.expand({group, -1}), fold);
    lost.push_back(fit.lost);
    const at::Tensor first = (dropped == 0).nonzero().squeeze(1);
    kept.push_back(at::cat({first, first + count}));
    const at::Tensor alpha = fit.coefficients.slice(1, 0, count) + (1 - dropped);
    folds.push_back(at::stack({alpha, fit.coefficients.slice(1, count)}, -1));
  }
  out.kept = at::stack(kept);
  out.fold = at::cat(folds);
  out.lost = at::cat(lost);
  out.all = at::cat(all);
  return out;
}

}  // namespace vmla
