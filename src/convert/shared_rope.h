// One rope key for all heads: the complex principal components of each frequency's keys.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace vmla {

// Keys of a layer as rows: weight [K*D, E], bias [K*D] or undefined.
struct KeyRows {
  at::Tensor weight, bias;
  std::int64_t kv_heads = 0;
};

// All K * D/2 components of a layer, the costliest to lose first. Per frequency j: with K_j the
// heads' complex key rows and G = diag sqrt(cost_j / E|k_j|^2), eigenvectors of G K_j Cx K_j^H G.
class SharedRopeComponents {
 public:
  // inputs [E, E], or [E + 1, E + 1] with a bias, as in AttentionMoments; cost [K, D/2]: what
  // losing a head's pair costs, its residual times the sensitivity, summed over the KV head's
  // queries.
  SharedRopeComponents(const KeyRows& keys, const at::Tensor& inputs, const at::Tensor& cost);

  std::int64_t size() const { return energies_.size(0); }
  // double [K * D/2], descending: the share of the cost that each component carries.
  const at::Tensor& energies() const { return energies_; }
  double dropped(std::int64_t components) const;  // sum of the energies behind the first ones

  // The first `components` of them.
  struct Selection {
    at::Tensor frequencies;  // int64 [n]
    at::Tensor mix;          // [H, n, 2], w of each query head
    at::Tensor weight;       // [2n, E], k_r_proj: real parts, then imaginary
    at::Tensor bias;         // [2n] or undefined
    at::Tensor rest;         // [K*D, E], what the components leave of the keys
  };
  Selection select(std::int64_t components, std::int64_t heads) const;

 private:
  KeyRows keys_;
  at::Tensor keys_by_pair_;  // complex [D/2, K, E']
  at::Tensor scale_;         // [D/2, K], G
  at::Tensor vectors_;       // complex [K * D/2, K], sorted as energies_
  at::Tensor energies_;
  std::vector<double> tails_;  // what dropped() says, of every number of components
  at::Tensor frequencies_;     // int64 [K * D/2]
};

}  // namespace vmla
