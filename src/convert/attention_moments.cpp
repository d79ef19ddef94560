#include "convert/attention_moments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "convert/float32_products.h"
#include "convert/row_products.h"

namespace vmla {
namespace {

constexpr std::int64_t kSampledQueries = 24;  // of a sequence, for the pairs
constexpr std::int64_t kQueriesAtOnce = 8;    // for all pairs with each other
constexpr std::int64_t kScoreBytesAtOnce = std::int64_t{256} << 20;

at::Tensor wide(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

// Evenly over the queries of a sequence, but the first, which sees only itself: no error there can
// matter. int64 [at most kSampledQueries].
at::Tensor sampled_queries(std::int64_t tokens, at::Device device) {
  const std::int64_t count = std::clamp<std::int64_t>(tokens - 1, 0, kSampledQueries);
  if (count == 0) return at::empty({0}, at::TensorOptions().dtype(at::kLong).device(device));
  return at::linspace(1, tokens - 1, count, at::TensorOptions().dtype(at::kDouble))
      .round()
      .to(at::kLong)
      .to(device);
}

// x [H, S, X] at some of S -> [H, kSampledQueries, X], zeros behind.
at::Tensor sampled(const at::Tensor& x, const at::Tensor& queries) {
  return at::constant_pad_nd(x.index_select(1, queries),
                             {0, 0, 0, kSampledQueries - queries.size(0)});
}

// The parts of a pair's score as rows over (k_re, k_im, k_rot_re, k_rot_im): q and q_rot
// [..., Q, D] -> [..., Q, 3, 4, D/2].
at::Tensor score_rows(const at::Tensor& q, const at::Tensor& q_rot) {
  const std::int64_t half = q.size(-1) / 2;
  const at::Tensor re = q.slice(-1, 0, half), im = q.slice(-1, half), none = at::zeros_like(re);
  const at::Tensor rot_re = q_rot.slice(-1, 0, half), rot_im = q_rot.slice(-1, half);
  return at::stack({at::stack({re, im, none, none}, -2),
                    at::stack({im, -re, none, none}, -2),
                    at::stack({none, none, rot_re, rot_im}, -2)},
                   -3);
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
                               bool with_bias,
                               PairMoments pairs)
    : shape_(shape),
      with_bias_(with_bias),
      pairs_(pairs),
      value_metric_(output_metric(o_weight, shape.heads)) {
  const std::int64_t e = shape.hidden + (with_bias ? 1 : 0), half = shape.head_dim / 2;
  const auto zeros = [&](std::vector<std::int64_t> size) {
    return at::zeros(size, value_metric_.options());
  };
  for (Sums& sums : sums_) {
    sums.inputs = zeros({e, e});
    sums.queries = zeros({shape.heads, shape.head_dim, shape.head_dim});
    sums.sensitivity = zeros({shape.heads});
    sums.pairs = pairs == PairMoments::All ? zeros({shape.heads, 3 * half, 3 * half})
                                           : zeros({shape.heads, 3, 3, half});
  }
}

void MomentObserver::add(const AttentionView& view, const StreamBatch& batch) {
  const at::NoGradGuard no_grad;
  const Float32Products exact(/*tf32=*/false);
  Sums& sums = sums_[batch.is_text ? 1 : 0];
  add_tokens(view, batch.real, sums);
  const at::Tensor lengths = batch.real.sum(1).cpu();
  const std::int64_t batches = batch.real.size(0), tokens = batch.real.size(1);
  const std::int64_t at_once = std::clamp<std::int64_t>(
      kScoreBytesAtOnce / (shape_.heads * tokens * tokens * 4), 1, batches);
  for (std::int64_t first = 0; first < batches; first += at_once) {
    const std::int64_t count = std::min(at_once, batches - first);
    const auto take = [&](const at::Tensor& x) {
      return wide(x.narrow(0, first, count)).transpose(1, 2);
    };
    Rows rows{take(view.q),
              take(view.k),
              take(view.v),
              take(view.q_rot),
              take(view.k_rot),
              batch.real.narrow(0, first, count),
              {}};
    for (std::int64_t i = 0; i < count; ++i)
      rows.lengths.push_back(lengths[first + i].item<std::int64_t>());
    add_rows(rows, sums);
  }
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
  sums.inputs += row_squares(x);
  const at::Tensor q = rows(view.q).transpose(0, 1);  // [H, N, D]
  sums.queries += at::matmul(q.transpose(1, 2), q);
  sums.tokens += static_cast<double>(kept.size(0));
}

at::Tensor MomentObserver::per_query_head(const at::Tensor& x) const {
  const std::int64_t group = shape_.heads / shape_.kv_heads;
  return group == 1 ? x : x.repeat_interleave(group, 1);
}

// Padding stands behind the real tokens, which do not see it.
void MomentObserver::add_rows(const Rows& rows, Sums& sums) const {
  const std::int64_t batches = rows.q.size(0), heads = shape_.heads, tokens = rows.q.size(2);
  const at::Tensor later =
      at::full({tokens, tokens}, -std::numeric_limits<float>::infinity(), rows.q.options())
          .triu(/*diagonal=*/1);
  const auto flat = [](const at::Tensor& x) { return x.flatten(0, 1); };
  const at::Tensor v = per_query_head(rows.v);
  const at::Tensor attention = at::baddbmm(later,
                                           flat(rows.q_rot),
                                           flat(per_query_head(rows.k_rot)).transpose(1, 2),
                                           /*beta=*/1,
                                           1.0 / std::sqrt(static_cast<double>(shape_.head_dim)))
                                   .softmax(-1);  // [B*H, S, T]
  const at::Tensor metric = value_metric_.to(v.scalar_type());
  const auto square = [&](const at::Tensor& z) {  // [B, H, S, D] -> [B, H, S]
    return (at::matmul(z, metric) * z).sum(-1);
  };
  const at::Tensor mixed = at::bmm(attention, flat(v)).view({batches, heads, tokens, -1});
  const at::Tensor spread =
      at::bmm(attention, flat(square(v)).unsqueeze(-1)).view({batches, heads, tokens}) -
      square(mixed);
  sums.sensitivity += spread.masked_fill(rows.real.unsqueeze(1).logical_not(), 0)
                          .sum(at::IntArrayRef{0, 2})
                          .to(at::kDouble);
  const at::Tensor by_row = attention.view({batches, heads, tokens, tokens});
  if (pairs_ == PairMoments::All) {
    add_all_pairs(rows, by_row, sums);
  } else {
    add_pairs_alone(rows, by_row, sums);
  }
  for (const std::int64_t length : rows.lengths)
    sums.sampled += static_cast<double>(std::clamp<std::int64_t>(length - 1, 0, kSampledQueries));
}

// A pair's scores are linear in its keys, so the keys' covariance under each query's attention says
// all: E[k k^T] - E[k] E[k]^T, each a product of attention with numbers of the keys alone.
void MomentObserver::add_pairs_alone(const Rows& rows,
                                     const at::Tensor& attention,
                                     Sums& sums) const {
  const std::int64_t batches = rows.q.size(0), kv_heads = shape_.kv_heads,
                     half = shape_.head_dim / 2;
  std::vector<at::Tensor> weights, q, q_rot;
  for (std::int64_t i = 0; i < batches; ++i) {
    const at::Tensor queries =
        sampled_queries(rows.lengths[static_cast<std::size_t>(i)], rows.q.device());
    weights.push_back(sampled(attention[i], queries));
    q.push_back(sampled(rows.q[i], queries));
    q_rot.push_back(sampled(rows.q_rot[i], queries));
  }
  // Keys before and after RoPE, off their mean, which no covariance sees: less is lost in the
  // difference. [B, K, T, 4, D/2]
  const at::Tensor real =
      rows.real.unsqueeze(1).unsqueeze(-1).to(rows.k.scalar_type());  // [B, 1, T, 1]
  const at::Tensor both = at::cat({rows.k, rows.k_rot}, -1);
  const at::Tensor mean =
      (both * real).sum(2, /*keepdim=*/true) / real.sum(2, /*keepdim=*/true).clamp_min(1);
  const at::Tensor keys = ((both - mean) * real).unflatten(-1, {4, half});
  // The ten different products of four numbers.
  const auto indices = [&](const std::vector<std::int64_t>& list) {
    return at::tensor(list, at::kLong).to(keys.device());
  };
  const at::Tensor products = keys.index_select(3, indices({0, 0, 0, 0, 1, 1, 1, 2, 2, 3})) *
                              keys.index_select(3, indices({0, 1, 2, 3, 1, 2, 3, 2, 3, 3}));
  const at::Tensor under =  // a KV head's queries are rows of one product
      at::stack(weights).reshape({batches * kv_heads, -1, keys.size(2)});
  const auto mean_under = [&](const at::Tensor& x) {  // [B, K, T, X, D/2] -> [B, H, Q, X, D/2]
    return at::bmm(under, x.flatten(0, 1).flatten(2))
        .view({batches, shape_.heads, kSampledQueries, x.size(3), half});
  };
  const at::Tensor first = mean_under(keys);
  const at::Tensor second =
      mean_under(products)
          .index_select(3, indices({0, 1, 2, 3, 1, 4, 5, 6, 2, 5, 7, 8, 3, 6, 8, 9}))
          .unflatten(3, {4, 4});
  const at::Tensor covariance = second - first.unsqueeze(3) * first.unsqueeze(4);
  const at::Tensor parts = score_rows(at::stack(q), at::stack(q_rot));  // [B, H, Q, 3, 4, D/2]
  const at::Tensor half_way =
      (parts.unsqueeze(5) * covariance.unsqueeze(3)).sum(4);  // [B, H, Q, 3, 4, D/2]
  sums.pairs += (half_way.unsqueeze(4) * parts.unsqueeze(3))
                    .sum(5)
                    .sum(at::IntArrayRef{0, 2})
                    .to(at::kDouble);
}

void MomentObserver::add_all_pairs(const Rows& rows,
                                   const at::Tensor& attention,
                                   Sums& sums) const {
  for (std::int64_t i = 0; i < rows.q.size(0); ++i) {
    const std::int64_t tokens = rows.lengths[static_cast<std::size_t>(i)];
    const at::Tensor queries = sampled_queries(tokens, rows.q.device());
    const auto keys = [&](const at::Tensor& x) {
      return per_query_head(x.narrow(0, i, 1)).squeeze(0).narrow(1, 0, tokens);
    };
    const at::Tensor k = keys(rows.k), k_rot = keys(rows.k_rot);
    for (std::int64_t begin = 0; begin < queries.size(0); begin += kQueriesAtOnce) {
      const at::Tensor at =
          queries.narrow(0, begin, std::min(kQueriesAtOnce, queries.size(0) - begin));
      const at::Tensor weight =
          attention[i].index_select(1, at).narrow(2, 0, tokens).unsqueeze(-1);  // [H, Q, T, 1]
      const at::Tensor parts =
          pair_parts(rows.q[i].index_select(1, at), k, rows.q_rot[i].index_select(1, at), k_rot);
      const at::Tensor centred =
          ((parts - (parts * weight).sum(2, /*keepdim=*/true)) * weight.sqrt()).flatten(1, 2);
      sums.pairs += at::matmul(centred.transpose(1, 2), centred);
    }
  }
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
