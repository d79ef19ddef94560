// The activations that configs may name.
#pragma once

#include <string>

namespace vmla {

enum class Activation { Silu, Gelu, GeluTanh, QuickGelu, Relu };
// HF's names: silu, gelu, gelu_pytorch_tanh, gelu_new, quick_gelu, relu. Errors:
// ErrorKind::Unsupported.
Activation parse_activation(const std::string& name);

}  // namespace vmla
