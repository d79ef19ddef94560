#include "nn/layers.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/api.h"
#include "kernels/decode_ops.h"
#include "kernels/train_ops.h"

namespace vmla {

at::Tensor Linear::forward(const at::Tensor& x) const {
  return at::linear(x, weight, bias);
}

void MergedLinear::merge(const std::vector<Linear*>& parts) {
  std::vector<at::Tensor> weights, biases;
  bool has_bias = false;
  for (const Linear* part : parts) {
    weights.push_back(part->weight);
    has_bias = has_bias || part->bias.defined();
    biases.push_back(part->bias.defined()
                         ? part->bias
                         : at::zeros({part->weight.size(0)}, part->weight.options()));
  }
  weight_ = at::cat(weights);
  if (has_bias) bias_ = at::cat(biases);
  std::int64_t row = 0;
  for (Linear* part : parts) {
    const std::int64_t rows = part->weight.size(0);
    part->weight = weight_.narrow(0, row, rows);
    if (part->bias.defined()) part->bias = bias_.narrow(0, row, rows);
    row += rows;
  }
}

at::Tensor MergedLinear::forward(const at::Tensor& x,
                                 const std::vector<const Linear*>& parts) const {
  if (merged()) return kernels::linear(x, weight_, bias_, {});
  std::vector<at::Tensor> out;
  for (const Linear* part : parts) out.push_back(kernels::linear(x, part->weight, part->bias, {}));
  return at::cat(out, -1);
}

void Linear::collect(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + ".weight", &weight});
  if (has_bias) out.push_back({prefix + ".bias", &bias});
}

at::Tensor RmsNorm::forward(const at::Tensor& x) const {
  return kernels::trained_rms_norm(x, weight, eps);
}

void RmsNorm::collect(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + ".weight", &weight});
}

at::Tensor LayerNorm::forward(const at::Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

void LayerNorm::collect(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + ".weight", &weight});
  out.push_back({prefix + ".bias", &bias});
}

at::Tensor activate(Activation kind, const at::Tensor& x) {
  switch (kind) {
    case Activation::Silu:
      return at::silu(x);
    case Activation::Gelu:
      return at::gelu(x);
    case Activation::GeluTanh:
      return at::gelu(x, "tanh");
    case Activation::QuickGelu:
      return x * at::sigmoid(x * 1.702);
    case Activation::Relu:
      return at::relu(x);
  }
  return x;
}

at::Tensor GatedMlp::forward(const at::Tensor& x) const {
  const at::Tensor gate = gate_proj.forward(x), up = up_proj.forward(x);
  return down_proj.forward(act == Activation::Silu ? kernels::trained_silu_mul(gate, up)
                                                   : activate(act, gate) * up);
}

at::Tensor GatedMlp::step(const at::Tensor& x, const at::Tensor& residual) const {
  const bool plain = act == Activation::Silu && !gate_proj.bias.defined();
  const at::Tensor inner = plain && gate_up_.merged()
                               ? kernels::gated_linear(x, gate_up_.weight())
                               : activate(act, gate_proj.forward(x)) * up_proj.forward(x);
  return kernels::linear(inner, down_proj.weight, down_proj.bias, residual);
}

void GatedMlp::merge_projections() {
  gate_up_.merge({&gate_proj, &up_proj});
}

void GatedMlp::collect(const std::string& prefix, ParameterList& out) {
  gate_proj.collect(prefix + ".gate_proj", out);
  up_proj.collect(prefix + ".up_proj", out);
  down_proj.collect(prefix + ".down_proj", out);
}

}  // namespace vmla
