// The small parts of a transformer: Linear, norms, activations, MLP. Plain structs of tensors.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

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

enum class Activation { Silu, Gelu, GeluTanh, QuickGelu, Relu };
// HF's names: silu, gelu, gelu_pytorch_tanh, gelu_new, quick_gelu, relu. Errors:
// ErrorKind::Unsupported.
Activation parse_activation(const std::string& name);
at::Tensor activate(Activation kind, const at::Tensor& x);

// LlamaMLP: down(act(gate(x)) * up(x)).
struct GatedMlp {
  Linear gate_proj, up_proj, down_proj;
  Activation act = Activation::Silu;

  at::Tensor forward(const at::Tensor& x) const;  // [..., E]
  void collect(const std::string& prefix, ParameterList& out);
};

}  // namespace vmla
