#include "nn/activation.h"

#include "base/error.h"

namespace vmla {

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

}  // namespace vmla
