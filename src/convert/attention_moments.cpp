#include "convert/attention_moments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "convert/float32_products.h"

namespace vmla {
namespace {

constexpr std::int64_t kSampledQueries = 24;  // of a sequence, for the pairs
constexpr std::int64_t kQueriesAtOnce = 8;

at::Tensor wide(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

// [T, K, D] -> [H, T, D]
at::Tensor per_query_head(const at::Tensor& x, std::int64_t heads) {
  return wide(x).repeat_interleave(heads / x.size(1), 1).transpose(0, 1);
}

// q [H, Q, D], k [H, T, D], both before and after RoPE -> the pairs' parts [H, Q, T, 3*D/2].
at::Tensor pair_parts(const at::Tensor& q,
                      const at::Tensor& k,
                      const at::Tensor& q_rot,
                      const at::Tensor& k_rot) {
  const std::int64_t half = q.size(2) / 2;
  const auto query = [&](const at::Tensor& x) { return x.unsqueeze(2); };
  const auto key = [&](const at::Tensor& x) { return x.unsqueeze(1); };
  const auto re = [&](const at::Tensor& x) { return x.slice(-1, 0, half); };
  const auto im = [&](const at::Tensor& x) { return x.slice(-1, half); };
  const auto real_product = [&](const at::Tensor& a, const at::Tensor& b) {
    return query(re(a)) * key(re(b)) + query(im(a)) * key(im(b));
  };
  return at::cat({real_product(q, k),
                  query(im(q)) * key(re(k)) - query(re(q)) * key(im(k)),
                  real_product(q_rot, k_rot)},
                 -1);
}

}  // namespace

at::Tensor output_metric(const at::Tensor& o_weight, std::int64_t heads) {
  const at::Tensor columns =
      o_weight.to(at::kDouble).unflatten(1, {heads, -1}).permute({1, 0, 2});  // [H, E, D]
  return at::matmul(columns.transpose(1, 2), columns);
}

MomentObserver::MomentObserver(const AttentionShape& shape,
                               const at::Tensor& o_weight,
                               bool with_bias)
    : shape_(shape), with_bias_(with_bias), value_metric_(output_metric(o_weight, shape.heads)) {
  const std::int64_t e = shape.hidden + (with_bias ? 1 : 0), features = 3 * shape.head_dim / 2;
  const auto zeros = [&](std::vector<std::int64_t> size) {
    return at::zeros(size, value_metric_.options());
  };
  for (Sums& sums : sums_) {
    sums.inputs = zeros({e, e});
    sums.queries = zeros({shape.heads, shape.head_dim, shape.head_dim});
    sums.sensitivity = zeros({shape.heads});
    sums.pairs = zeros({shape.heads, features, features});
  }
}

void MomentObserver::add(const AttentionView& view, const StreamBatch& batch) {
  const at::NoGradGuard no_grad;
  const Float32Products exact(/*tf32=*/false);
  Sums& sums = sums_[batch.is_text ? 1 : 0];
  add_tokens(view, batch.real, sums);
  const at::Tensor lengths = batch.real.sum(1).cpu();
  for (std::int64_t row = 0; row < batch.real.size(0); ++row)
    add_row(view, row, lengths[row].item<std::int64_t>(), sums);
}

void MomentObserver::add_tokens(const AttentionView& view,
                                const at::Tensor& real,
                                Sums& sums) const {
  const at::Tensor kept = real.flatten().nonzero().squeeze(1);
  const auto rows = [&](const at::Tensor& x) {
    return wide(x.flatten(0, 1).index_select(0, kept));
  };
  at::Tensor x = rows(view.x);
  if (with_bias_) x = at::cat({x, at::ones({x.size(0), 1}, x.options())}, 1);
  sums.inputs += x.t().mm(x);
  const at::Tensor q = rows(view.q).transpose(0, 1);  // [H, N, D]
  sums.queries += at::matmul(q.transpose(1, 2), q);
  sums.tokens += static_cast<double>(kept.size(0));
}

void MomentObserver::add_row(const AttentionView& view,
                             std::int64_t row,
                             std::int64_t tokens,
                             Sums& sums) const {
  const std::int64_t heads = shape_.heads;
  const auto take = [&](const at::Tensor& x) {
    return per_query_head(x[row].narrow(0, 0, tokens), heads);
  };
  const at::Tensor q_rot = take(view.q_rot), k_rot = take(view.k_rot), v = take(view.v);
  const at::Tensor later =
      at::ones({tokens, tokens}, q_rot.options().dtype(at::kBool)).triu(/*diagonal=*/1);
  const at::Tensor attention =
      (at::matmul(q_rot, k_rot.transpose(1, 2)) / std::sqrt(static_cast<double>(shape_.head_dim)))
          .masked_fill(later, -std::numeric_limits<float>::infinity())
          .softmax(-1);  // [H, S, T]

  const at::Tensor metric = value_metric_.to(v.scalar_type());
  const auto square = [&](const at::Tensor& z) { return (at::matmul(z, metric) * z).sum(-1); };
  const at::Tensor spread = at::matmul(attention, square(v).unsqueeze(-1)).squeeze(-1) -
                            square(at::matmul(attention, v));  // [H, S]
  sums.sensitivity += spread.sum(-1);

  const at::Tensor q = take(view.q), k = take(view.k);
  // The first token sees only itself: no error there can matter.
  const std::int64_t count = std::min(kSampledQueries, tokens - 1);
  if (count <= 0) return;
  const at::Tensor sampled =
      at::linspace(1, tokens - 1, count, k.options().dtype(at::kDouble)).round().to(at::kLong);
  for (std::int64_t begin = 0; begin < count; begin += kQueriesAtOnce) {
    const at::Tensor at = sampled.narrow(0, begin, std::min(kQueriesAtOnce, count - begin));
    const at::Tensor weight = attention.index_select(1, at).unsqueeze(-1);  // [H, Q, T, 1]
    const at::Tensor parts = pair_parts(q.index_select(1, at), k, q_rot.index_select(1, at), k_rot);
    const at::Tensor centred =
        ((parts - (parts * weight).sum(2, /*keepdim=*/true)) * weight.sqrt()).flatten(1, 2);
    sums.pairs += at::matmul(centred.transpose(1, 2), centred);
  }
  sums.sampled += static_cast<double>(count);
}

AttentionMoments MomentObserver::finish() const {
  AttentionMoments out;
  double kinds = 0;
  for (const Sums& sums : sums_) kinds += sums.tokens > 0 ? 1 : 0;
  check(kinds > 0, ErrorKind::Internal, "calibration: expected tokens, got none");
  const auto accumulate = [&](at::Tensor& to, const at::Tensor& sum, double count) {
    if (count <= 0) return;
    const at::Tensor share = sum / (count * kinds);
    to = to.defined() ? to + share : share;
  };
  for (const Sums& sums : sums_) {
    accumulate(out.inputs, sums.inputs, sums.tokens);
    accumulate(out.queries, sums.queries, sums.tokens);
    accumulate(out.sensitivity, sums.sensitivity, sums.tokens);
    accumulate(out.pairs, sums.pairs, sums.sampled);
  }
  if (!out.pairs.defined()) out.pairs = at::zeros_like(sums_[0].pairs);
  // Rounding may leave a difference of squares a hair below zero.
  out.sensitivity = out.sensitivity.clamp_min(0);
  for (const at::Tensor& moment : {out.inputs, out.queries, out.sensitivity, out.pairs}) {
    check(at::isfinite(moment).all().item<bool>(),
          ErrorKind::Numeric,
          "calibration: expected finite activations, got NaN or infinity");
  }
  return out;
}

}  // namespace vmla
