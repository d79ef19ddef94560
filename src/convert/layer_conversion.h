// One layer's attention weights, from MHA or GQA to MLA.
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "convert/report.h"
#include "nn/mla_attention.h"

namespace vmla {

struct Projection {
  at::Tensor weight;  // [heads * D, E]
  at::Tensor bias;    // [heads * D]; undefined without
};

struct ConvertedLayer {
  // Names below self_attn: q_proj.*, k_r_proj.*, kv_proj.*. Factors come in double, all else in the
  // source's dtype.
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  LayerReport report;
};

// Each head's rows repeated in place, so that K heads become K * times heads.
Projection repeat_heads(const Projection& source, std::int64_t head_dim, std::int64_t times);

// The largest low_rank that the matrices of a layer allow: C = low_rank * K may not exceed the
// smaller side of what is factorised. 0: nothing to factorise (no K rows are left).
std::int64_t largest_low_rank(const MlaShape& shape);

// Attention's rows in the order of the converted layout.
struct SplitRows {
  Projection q;       // [H*D, E], reordered
  Projection k_rope;  // [K*R, E]
  Projection k_nope;  // [K*N, E]
  Projection v;       // [K*D, E]
};

// k and v have shape.attention.kv_heads heads (repeat_heads comes first); kept int64 [K, R].
SplitRows split_rows(const Projection& q,
                     const Projection& k,
                     const Projection& v,
                     const at::Tensor& kept,
                     const MlaShape& shape);

// What the factorisation minimises.
struct FactorMetric {
  at::Tensor root;          // [E, E] double, damped_root of the inputs' moments; undefined: weights
  bool balance_kv = false;  // joint: K's and V's outputs count alike per row
};

// stored is the dtype that the factors will be rounded to, which the report's errors include.
ConvertedLayer convert_layer(const SplitRows& rows,
                             const MlaShape& shape,
                             const FactorMetric& metric,
                             at::Device device,
                             at::ScalarType stored);

// What balance_kv divides K's rows by: the ratio of the mean squared outputs of a row of K and of
// V, its root. 1 where one of them is silent.
double balance_ratio(const at::Tensor& k_nope, const at::Tensor& v, const at::Tensor& root);

}  // namespace vmla
