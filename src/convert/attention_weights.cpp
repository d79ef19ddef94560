#include "convert/attention_weights.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "convert/calibration.h"

namespace vmla {
namespace {

std::map<std::string, at::Tensor*> parameters_of(Attention& attention) {
  ParameterList parameters;
  attention.collect("", parameters);
  std::map<std::string, at::Tensor*> out;
  for (const NamedParameter& parameter : parameters)
    out[parameter.name.substr(1)] = parameter.tensor;  // collect puts a dot in front
  return out;
}

}  // namespace

SourceAttention source_attention(DecoderLayer& layer, const ModelConfig& config) {
  const auto weights = layer_weights(layer);
  const auto find = [&](const std::string& name) {
    const auto it = weights.find("self_attn." + name);
    return it == weights.end() ? at::Tensor() : it->second;
  };
  SourceAttention out;
  out.shape = config.text.attention_shape();
  out.q = find("q_proj.weight");
  out.k = find("k_proj.weight");
  out.v = find("v_proj.weight");
  out.o = find("o_proj.weight");
  out.q_bias = find("q_proj.bias");
  out.k_bias = find("k_proj.bias");
  out.v_bias = find("v_proj.bias");
  out.o_bias = find("o_proj.bias");
  check(out.q.defined() && out.k.defined() && out.v.defined() && out.o.defined(),
        ErrorKind::Unsupported,
        "convert: expected multi-head attention");
  return out;
}

AttentionWeights weights_of(Attention& attention) {
  AttentionWeights out;
  for (const auto& [name, tensor] : parameters_of(attention)) out[name] = *tensor;
  return out;
}

void set_weights(Attention& attention,
                 const AttentionWeights& weights,
                 at::ScalarType dtype,
                 at::Device device) {
  for (const auto& [name, tensor] : parameters_of(attention)) {
    const auto it = weights.find(name);
    check(it != weights.end() && it->second.defined(),
          ErrorKind::Internal,
          "converted layer: expected {}",
          name);
    *tensor = it->second
                  .to(at::TensorOptions().dtype(dtype).device(device),
                      /*non_blocking=*/false,
                      /*copy=*/true)
                  .contiguous();
  }
}

WithoutOutputProjection::WithoutOutputProjection(Attention& attention) {
  const auto parameters = parameters_of(attention);
  weight_ = parameters.at("o_proj.weight");
  old_weight_ = *weight_;
  *weight_ = at::eye(old_weight_.size(1), old_weight_.options().requires_grad(false));
  if (const auto it = parameters.find("o_proj.bias"); it != parameters.end()) {
    bias_ = it->second;
    old_bias_ = *bias_;
    *bias_ = at::zeros({old_weight_.size(1)}, old_bias_.options().requires_grad(false));
  }
}

WithoutOutputProjection::~WithoutOutputProjection() {
  *weight_ = old_weight_;
  if (bias_ != nullptr) *bias_ = old_bias_;
}

}  // namespace vmla
