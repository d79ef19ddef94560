#include "nn/layers.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/api.h"

namespace vmla {

at::Tensor Linear::forward(const at::Tensor& x) const {
  return at::linear(x, weight, bias);
}

void Linear::collect(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + ".weight", &weight});
  if (has_bias) out.push_back({prefix + ".bias", &bias});
}

at::Tensor RmsNorm::forward(const at::Tensor& x) const {
  return kernels::rms_norm(x, weight, eps);
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

Activation parse_activation(const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::Silu;
  if (name == "gelu") return Activation::Gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::GeluTanh;
  if (name == "quick_gelu") return Activation::QuickGelu;
  if (name == "relu") return Activation::Relu;
  fail(ErrorKind::Unsupported,
       "hidden_act: expected silu, gelu, gelu_new, quick_gelu or relu, got {}",
       name);
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
  return down_proj.forward(act == Activation::Silu ? kernels::silu_mul(gate, up)
                                                   : activate(act, gate) * up);
}

void GatedMlp::collect(const std::string& prefix, ParameterList& out) {
  gate_proj.collect(prefix + ".gate_proj", out);
  up_proj.collect(prefix + ".up_proj", out);
  down_proj.collect(prefix + ".down_proj", out);
}

}  // namespace vmla
