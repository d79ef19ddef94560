#include "convert/layer_conversion.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "convert/factorize.h"
#include "nn/kept_rope_dims.h"

namespace vmla {
namespace {

Projection take_rows(const Projection& from, const at::Tensor& rows) {
  return {from.weight.index_select(0, rows),
          from.bias.defined() ? from.bias.index_select(0, rows) : at::Tensor()};
}

// |matrix - up down| / |matrix| with the factors rounded to stored. matrix [m, E], up [m, r], down
// [r, E].
double stored_error(const at::Tensor& matrix,
                    const at::Tensor& up,
                    const at::Tensor& down,
                    at::ScalarType stored) {
  constexpr std::int64_t kRows = 1024;  // bounds the memory of the product
  const at::Tensor rounded_down = down.to(stored).to(at::kFloat);
  double error = 0.0, total = 0.0;
  for (std::int64_t row = 0; row < matrix.size(0); row += kRows) {
    const std::int64_t count = std::min(kRows, matrix.size(0) - row);
    const at::Tensor want = matrix.narrow(0, row, count).to(at::kFloat);
    const at::Tensor got = up.narrow(0, row, count).to(stored).to(at::kFloat).mm(rounded_down);
    error += (got - want).square().sum(at::kDouble).item<double>();
    total += want.square().sum(at::kDouble).item<double>();
  }
  return total > 0.0 ? std::sqrt(error / total) : 0.0;
}

class Builder {
 public:
  Builder(at::Device device, at::ScalarType stored) : device_(device), stored_(stored) {}

  void add(const std::string& name, const at::Tensor& weight, const at::Tensor& bias = {}) {
    result_.tensors.emplace_back(name + ".weight", weight);
    if (bias.defined()) result_.tensors.emplace_back(name + ".bias", bias);
  }
  // matrix [m, E]; root as in FactorMetric.
  Factors factorized(const at::Tensor& matrix, std::int64_t rank, const at::Tensor& root) {
    const at::Tensor m = matrix.to(device_).to(at::kDouble);  // widened where it is cheap
    if (root.defined()) {
      WhitenedFactors whitened = factorize_whitened(m, root, rank);
      const double energy = m.mm(root).square().sum().item<double>();
      total_ += energy;
      kept_ += whitened.retained * energy;
      return std::move(whitened.factors);
    }
    Factors factors = factorize(m, rank);
    total_ += m.square().sum().item<double>();
    kept_ += factors.up.square().sum().item<double>();
    return factors;
  }
  double error(const at::Tensor& matrix, const at::Tensor& up, const at::Tensor& down) const {
    return stored_error(matrix.to(device_), up, down, stored_);
  }
  LayerReport& report() { return result_.report; }
  ConvertedLayer finish() {
    // Rounding may carry the share a hair over the whole.
    if (total_ > 0.0) result_.report.retained_energy = std::min(1.0, kept_ / total_);
    return std::move(result_);
  }

 private:
  at::Device device_;
  at::ScalarType stored_;
  double total_ = 0.0, kept_ = 0.0;  // squared Frobenius norms
  ConvertedLayer result_;
};

}  // namespace

Projection repeat_heads(const Projection& source, std::int64_t head_dim, std::int64_t times) {
  const auto repeat = [&](const at::Tensor& rows) {
    return rows.unflatten(0, {-1, head_dim}).repeat_interleave(times, 0).flatten(0, 1);
  };
  return {repeat(source.weight), source.bias.defined() ? repeat(source.bias) : at::Tensor()};
}

std::int64_t largest_low_rank(const MlaShape& shape) {
  const AttentionShape& a = shape.attention;
  const std::int64_t key_rows = a.kv_heads * shape.nope_dim(), value_rows = a.kv_heads * a.head_dim;
  std::int64_t rows = std::numeric_limits<std::int64_t>::max();
  if (shape.joint()) {
    rows = key_rows + value_rows;
  } else {
    if (shape.low_rank_key()) rows = std::min(rows, key_rows);
    if (shape.low_rank_value()) rows = std::min(rows, value_rows);
  }
  return std::min(rows, a.hidden) / a.kv_heads;
}

SplitRows split_rows(const Projection& q,
                     const Projection& k,
                     const Projection& v,
                     const at::Tensor& kept,
                     const MlaShape& shape) {
  const AttentionShape& a = shape.attention;
  const at::Tensor key_rows = reordered_rows(kept, a.kv_heads, a.head_dim);
  const std::int64_t rotary = a.kv_heads * shape.rope_dim;
  return {take_rows(q, reordered_rows(kept, a.heads, a.head_dim)),
          take_rows(k, key_rows.slice(0, 0, rotary)),
          take_rows(k, key_rows.slice(0, rotary)),
          v};
}

double balance_ratio(const at::Tensor& k_nope, const at::Tensor& v, const at::Tensor& root) {
  const auto mean_square = [&](const at::Tensor& rows) {
    if (rows.size(0) == 0) return 0.0;
    return rows.to(root.options()).mm(root).square().sum().item<double>() /
           static_cast<double>(rows.size(0));
  };
  const double key = mean_square(k_nope), value = mean_square(v);
  return key > 0.0 && value > 0.0 ? std::sqrt(key / value) : 1.0;
}

ConvertedLayer convert_layer(const SplitRows& rows,
                             const MlaShape& shape,
                             const FactorMetric& metric,
                             at::Device device,
                             at::ScalarType stored) {
  Builder builder(device, stored);
  builder.add("q_proj", rows.q.weight, rows.q.bias);
  builder.add("k_r_proj", rows.k_rope.weight, rows.k_rope.bias);
  const Projection &k_nope = rows.k_nope, &v = rows.v;
  const std::int64_t count = k_nope.weight.size(0);
  at::Tensor up_k = k_nope.weight, up_v = v.weight;
  if (shape.joint()) {
    const double ratio =
        metric.balance_kv ? balance_ratio(k_nope.weight, v.weight, metric.root) : 1.0;
    const at::Tensor key = ratio == 1.0 ? k_nope.weight : k_nope.weight.to(at::kDouble) / ratio;
    const Factors joint = builder.factorized(
        at::cat({key, v.weight.to(key.scalar_type())}), shape.latent_dim, metric.root);
    builder.add("kv_proj.down_kv", joint.down);
    up_k = joint.up.narrow(0, 0, count) * ratio;
    up_v = joint.up.narrow(0, count, v.weight.size(0));
    builder.report().k_nope_error = builder.error(k_nope.weight, up_k, joint.down);
    builder.report().v_error = builder.error(v.weight, up_v, joint.down);
  } else {
    if (shape.low_rank_key()) {
      const Factors key = builder.factorized(k_nope.weight, shape.latent_dim, metric.root);
      builder.add("kv_proj.down_k", key.down);
      up_k = key.up;
      builder.report().k_nope_error = builder.error(k_nope.weight, up_k, key.down);
    }
    if (shape.low_rank_value()) {
      const Factors value = builder.factorized(v.weight, shape.value_latent(), metric.root);
      builder.add("kv_proj.down_v", value.down);
      up_v = value.up;
      builder.report().v_error = builder.error(v.weight, up_v, value.down);
    }
  }
  builder.add("kv_proj.up_k", up_k, k_nope.bias);
  builder.add("kv_proj.up_v", up_v, v.bias);
  return builder.finish();
}

}  // namespace vmla
