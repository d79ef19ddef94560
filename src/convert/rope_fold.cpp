#include "convert/rope_fold.h"

#include <ATen/ATen.h>

namespace vmla {
namespace {

constexpr double kRidge = 1e-3;  // of the diagonal

// The blocks of each pair: [H, 3, 3, D/2].
at::Tensor blocks_of(const at::Tensor& pairs) {
  if (pairs.dim() == 4) return pairs;
  return pairs.unflatten(2, {3, -1}).unflatten(1, {3, -1}).diagonal(0, 2, 4);
}

at::Tensor block(const at::Tensor& blocks, std::int64_t row, std::int64_t column) {
  return blocks.select(1, row).select(1, column);  // [H, D/2]
}

at::Tensor per_query_head(const at::Tensor& by_kv_head, std::int64_t heads) {
  return by_kv_head.repeat_interleave(heads / by_kv_head.size(0), 0);
}

// Of each pair and head under a fold [K, D/2, 2] -> [H, D/2].
at::Tensor residual_of(const at::Tensor& blocks, const at::Tensor& fold) {
  const at::Tensor per_head = per_query_head(fold, blocks.size(0));
  const at::Tensor a = per_head.select(-1, 0), b = per_head.select(-1, 1);
  const at::Tensor left =
      block(blocks, 2, 2) - 2 * (a * block(blocks, 0, 2) + b * block(blocks, 1, 2)) +
      a * a * block(blocks, 0, 0) + 2 * a * b * block(blocks, 0, 1) + b * b * block(blocks, 1, 1);
  return left.clamp_min(0);
}

}  // namespace

RopeFold fit_rope_fold(const at::Tensor& pairs,
                       const at::Tensor& sensitivity,
                       std::int64_t kv_heads) {
  const at::Tensor blocks = blocks_of(pairs);
  const auto pooled = [&](std::int64_t row, std::int64_t column) {
    return (block(blocks, row, column) * sensitivity.unsqueeze(1))
        .unflatten(0, {kv_heads, -1})
        .sum(1);  // [K, D/2]
  };
  const at::Tensor a = pooled(0, 0) * (1 + kRidge), b = pooled(0, 1),
                   d = pooled(1, 1) * (1 + kRidge), x = pooled(0, 2), y = pooled(1, 2);
  const at::Tensor determinant = a * d - b * b;
  // A pair that no query or key uses has nothing to fit.
  const at::Tensor dead = determinant <= 0;
  const at::Tensor safe = determinant.masked_fill(dead, 1.0);
  const at::Tensor alpha = ((d * x - b * y) / safe).masked_fill(dead, 1.0);
  const at::Tensor beta = ((a * y - b * x) / safe).masked_fill(dead, 0.0);
  const at::Tensor fold = at::stack({alpha, beta}, -1);
  return {fold, residual_of(blocks, fold)};
}

RopeFold no_rope_fold(const at::Tensor& pairs, std::int64_t kv_heads) {
  const at::Tensor blocks = blocks_of(pairs);
  at::Tensor fold = at::zeros({kv_heads, blocks.size(3), 2}, pairs.options());
  fold.select(-1, 0).fill_(1.0);
  return {fold, residual_of(blocks, fold)};
}

// q' = F q with F = [[alpha, beta], [-beta, alpha]] on (re, im): F^T (re, im) = (alpha re - beta
// im, beta re + alpha im).
at::Tensor fold_into_keys(const at::Tensor& rows, const at::Tensor& fold) {
  const at::Tensor pairs = rows.unflatten(0, {fold.size(0), 2, -1});  // [K, 2, D/2, X]
  const at::Tensor re = pairs.select(1, 0), im = pairs.select(1, 1);
  const at::Tensor alpha = fold.select(-1, 0).unsqueeze(-1),
                   beta = fold.select(-1, 1).unsqueeze(-1);
  return at::stack({alpha * re - beta * im, beta * re + alpha * im}, 1).flatten(0, 2);
}

at::Tensor fold_queries(const at::Tensor& rows, const at::Tensor& fold) {
  const at::Tensor pairs = rows.unflatten(0, {fold.size(0), 2, -1});  // [H, 2, D/2, X]
  const at::Tensor re = pairs.select(1, 0), im = pairs.select(1, 1);
  const at::Tensor alpha = fold.select(-1, 0).unsqueeze(-1),
                   beta = fold.select(-1, 1).unsqueeze(-1);
  return at::stack({alpha * re + beta * im, alpha * im - beta * re}, 1).flatten(0, 2);
}

at::Tensor folded_query_moments(const at::Tensor& queries, const at::Tensor& fold) {
  // F on the rows, then on the columns.
  const auto rows = [&](const at::Tensor& m) {
    return fold_queries(m.flatten(0, 1), fold).view_as(m);
  };
  return rows(rows(queries).transpose(1, 2).contiguous()).transpose(1, 2);
}

}  // namespace vmla
