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

// k and v have shape.attention.kv_heads heads (repeat_heads comes first); kept int64 [K, R]. stored
// is the dtype that the factors will be rounded to, which the report's errors include.
ConvertedLayer convert_layer(const Projection& q,
                             const Projection& k,
                             const Projection& v,
                             const at::Tensor& kept,
                             const MlaShape& shape,
                             at::Device device,
                             at::ScalarType stored);

}  // namespace vmla
