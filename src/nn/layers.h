// The small parts of a transformer: Linear, norms, activations, MLP. Plain structs of tensors.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "nn/activation.h"

namespace vmla {

// A parameter's HF name and where the module keeps it. Loading assigns to it, training reads it.
struct NamedParameter {
  std::string name;
  at::Tensor* tensor;
};
using ParameterList = std::vector<NamedParameter>;

struct Linear {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]; undefined unless has_bias
  bool has_bias = false;

  at::Tensor forward(const at::Tensor& x) const;  // [..., in] -> [..., out]
  void collect(const std::string& prefix, ParameterList& out);
};

// Projections of one input side by side: one product instead of several.
class MergedLinear {
 public:
  // The parts' weights (and biases; zeros where only some have one) become views of one matrix.
  void merge(const std::vector<Linear*>& parts);
  bool merged() const { return weight_.defined(); }
  // x [B, E] -> [B, sum of the parts' rows].
  at::Tensor forward(const at::Tensor& x, const std::vector<const Linear*>& parts) const;
  const at::Tensor& weight() const { return weight_; }

 private:
  at::Tensor weight_, bias_;  // [F, E], [F]; undefined until merged
};

// HF LlamaRMSNorm: the mean square in fp32, the weight applied in the input's dtype.
struct RmsNorm {
  at::Tensor weight;  // [E]
  double eps = 1e-6;

  at::Tensor forward(const at::Tensor& x) const;  // [..., E]
  void collect(const std::string& prefix, ParameterList& out);
};

struct LayerNorm {
  at::Tensor weight;  // [E]
  at::Tensor bias;    // [E]
  double eps = 1e-5;

  at::Tensor forward(const at::Tensor& x) const;  // [..., E]
  void collect(const std::string& prefix, ParameterList& out);
};

at::Tensor activate(Activation kind, const at::Tensor& x);

// LlamaMLP: down(act(gate(x)) * up(x)).
struct GatedMlp {
  Linear gate_proj, up_proj, down_proj;
  Activation act = Activation::Silu;

  at::Tensor forward(const at::Tensor& x) const;  // [..., E]
  // residual + forward(x) for one token a row, x and residual [B, E].
  at::Tensor step(const at::Tensor& x, const at::Tensor& residual) const;
  void merge_projections();  // as Attention's
  void collect(const std::string& prefix, ParameterList& out);

 private:
  MergedLinear gate_up_;
};

}  // namespace vmla
