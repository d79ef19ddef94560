#include "convert/layer_converter.h"

#include <ATen/ATen.h>

#include "convert/attention_weights.h"
#include "convert/decoupled_layer.h"
#include "nn/decoupled_mla_attention.h"
#include "nn/kept_rope_dims.h"

namespace vmla {

std::string attention_prefix(std::int64_t layer) {
  return fmt::format("language_model.model.layers.{}.self_attn.", layer);
}

at::Tensor LayerConverter::kept(std::int64_t layer) const {
  return kept_rope_dims(plan_.rope,
                        plan_.shape.attention.kv_heads,
                        plan_.shape.attention.head_dim,
                        plan_.ranks.defined() ? plan_.ranks[layer] : at::Tensor());
}

SplitRows LayerConverter::rows(std::int64_t layer) const {
  const std::string prefix = attention_prefix(layer);
  const AttentionShape& shape = plan_.shape.attention;
  const auto load = [&](const std::string& name) {
    return Projection{source_.tensor(prefix + name + ".weight"),
                      shape.qkv_bias ? source_.tensor(prefix + name + ".bias") : at::Tensor()};
  };
  if (plan_.from_partial_rope)
    return {load("q_proj"), load("k_r_proj"), load("kv_proj.up_k"), load("kv_proj.up_v")};
  Projection k = load("k_proj"), v = load("v_proj");
  if (plan_.repeat > 1) {
    k = repeat_heads(k, shape.head_dim, plan_.repeat);
    v = repeat_heads(v, shape.head_dim, plan_.repeat);
  }
  return split_rows(load("q_proj"), k, v, kept(layer), plan_.shape);
}

ConvertedLayer LayerConverter::convert(std::int64_t layer, const LayerMetric& metric) const {
  const MlaShape& shape = plan_.shapes[static_cast<std::size_t>(layer)];
  const bool balance_kv = options_.statistics.balance_kv;
  try {
    if (metric.decoupled())
      return convert_decoupled_layer(
          rows(layer), shape, metric, balance_kv, options_.device, options_.dtype);
    return convert_layer(
        rows(layer), shape, {metric.root, balance_kv}, options_.device, options_.dtype);
  } catch (const Error& e) {
    fail(e.kind(), "{}: k_proj, v_proj of layer {}: {}", source_.dir().string(), layer, e.what());
  }
}

std::unique_ptr<Attention> LayerConverter::attention(std::int64_t layer,
                                                     const ConvertedLayer& converted,
                                                     at::ScalarType rounded_to) const {
  auto out = make_mla_attention(plan_.shapes[static_cast<std::size_t>(layer)],
                                kept(layer).to(options_.device));
  AttentionWeights weights;
  for (const auto& [name, tensor] : converted.tensors) weights[name] = tensor.to(rounded_to);
  const std::string output = attention_prefix(layer) + "o_proj";
  weights.try_emplace("o_proj.weight", source_.tensor(output + ".weight").to(rounded_to));
  if (plan_.shape.attention.out_bias)
    weights.try_emplace("o_proj.bias", source_.tensor(output + ".bias").to(rounded_to));
  set_weights(*out, weights, at::kFloat, options_.device);
  return out;
}

void LayerConverter::forget(std::int64_t layer) const {
  const std::string prefix = attention_prefix(layer);
  for (const char* name :
       {"q_proj", "k_proj", "v_proj", "k_r_proj", "kv_proj.up_k", "kv_proj.up_v"}) {
    const std::string weight = prefix + name + ".weight";
    if (source_.contains(weight)) source_.forget(weight);
  }
}

}  // namespace vmla
