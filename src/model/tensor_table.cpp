#include "model/tensor_table.h"

namespace vmla {
namespace {

void append(std::vector<TensorSpec>& to, const std::vector<TensorSpec>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

void add_norm(std::vector<TensorSpec>& specs,
              const std::string& name,
              std::int64_t size,
              bool bias) {
  specs.push_back({name + ".weight", {size}});
  if (bias) specs.push_back({name + ".bias", {size}});
}

}  // namespace

void add_linear(std::vector<TensorSpec>& specs,
                const std::string& name,
                std::int64_t out,
                std::int64_t in,
                bool bias) {
  specs.push_back({name + ".weight", {out, in}});
  if (bias) specs.push_back({name + ".bias", {out}});
}

std::vector<TensorSpec> clip_tensor_specs(const VisionConfig& v, const std::string& prefix) {
  std::vector<TensorSpec> specs;
  const std::int64_t e = v.hidden_size;
  specs.push_back({prefix + "embeddings.class_embedding", {e}});
  specs.push_back({prefix + "embeddings.patch_embedding.weight",
                   {e, v.num_channels, v.patch_size, v.patch_size}});
  specs.push_back({prefix + "embeddings.position_embedding.weight", {v.patches() + 1, e}});
  add_norm(specs, prefix + "pre_layrnorm", e, true);  // HF's spelling
  for (std::int64_t i = 0; i < v.num_hidden_layers; ++i) {
    const std::string layer = prefix + "encoder.layers." + std::to_string(i) + ".";
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      add_linear(specs, layer + "self_attn." + name, e, e, true);
    }
    add_norm(specs, layer + "layer_norm1", e, true);
    add_linear(specs, layer + "mlp.fc1", v.intermediate_size, e, true);
    add_linear(specs, layer + "mlp.fc2", e, v.intermediate_size, true);
    add_norm(specs, layer + "layer_norm2", e, true);
  }
  add_norm(specs, prefix + "post_layernorm", e, true);
  return specs;
}

std::vector<TensorSpec> mha_tensor_specs(const AttentionShape& s, const std::string& prefix) {
  std::vector<TensorSpec> specs;
  add_linear(specs, prefix + "q_proj", s.heads * s.head_dim, s.hidden, s.qkv_bias);
  add_linear(specs, prefix + "k_proj", s.kv_heads * s.head_dim, s.hidden, s.qkv_bias);
  add_linear(specs, prefix + "v_proj", s.kv_heads * s.head_dim, s.hidden, s.qkv_bias);
  add_linear(specs, prefix + "o_proj", s.hidden, s.heads * s.head_dim, s.out_bias);
  return specs;
}

std::vector<TensorSpec> mla_tensor_specs(const MlaShape& s, const std::string& prefix) {
  const AttentionShape& a = s.attention;
  std::vector<TensorSpec> specs;
  add_linear(specs, prefix + "q_proj", a.heads * a.head_dim, a.hidden, a.qkv_bias);
  add_linear(specs, prefix + "k_r_proj", a.kv_heads * s.rope_dim, a.hidden, a.qkv_bias);
  if (s.decoupled) {
    for (const char* own : {"kv_proj_img.", "kv_proj_text."}) {
      const std::string name = prefix + own;
      add_linear(specs, name + "down_kv", s.latent_dim, a.hidden, false);
      add_linear(specs, name + "up_k", a.kv_heads * s.nope_dim(), s.latent_dim, a.qkv_bias);
      add_linear(specs, name + "up_v", a.kv_heads * a.head_dim, s.latent_dim, a.qkv_bias);
    }
    add_linear(specs, prefix + "o_proj", a.hidden, a.heads * a.head_dim, a.out_bias);
    return specs;
  }
  if (s.joint()) {
    add_linear(specs, prefix + "kv_proj.down_kv", s.latent_dim, a.hidden, false);
  } else {
    if (s.low_rank_key())
      add_linear(specs, prefix + "kv_proj.down_k", s.latent_dim, a.hidden, false);
    if (s.low_rank_value())
      add_linear(specs, prefix + "kv_proj.down_v", s.value_latent(), a.hidden, false);
  }
  add_linear(specs,
             prefix + "kv_proj.up_k",
             a.kv_heads * s.nope_dim(),
             s.low_rank_key() ? s.latent_dim : a.hidden,
             a.qkv_bias);
  add_linear(specs,
             prefix + "kv_proj.up_v",
             a.kv_heads * a.head_dim,
             s.low_rank_value() ? s.value_latent() : a.hidden,
             a.qkv_bias);
  add_linear(specs, prefix + "o_proj", a.hidden, a.heads * a.head_dim, a.out_bias);
  return specs;
}

std::vector<TensorSpec> shared_mla_tensor_specs(const SharedMlaShape& s,
                                                const std::string& prefix) {
  const AttentionShape& a = s.attention;
  const std::int64_t kv_dim = a.kv_heads * a.head_dim;
  std::vector<TensorSpec> specs;
  add_linear(specs, prefix + "q_proj", a.heads * a.head_dim, a.hidden, a.qkv_bias);
  specs.push_back({prefix + "q_mix.weight", {a.heads, s.components, 2}});
  add_linear(specs, prefix + "k_r_proj", 2 * s.components, a.hidden, a.qkv_bias);
  add_linear(specs, prefix + "kv_proj.down_kv", s.latent_dim, a.hidden, false);
  add_linear(specs, prefix + "kv_proj.up_k", kv_dim, s.latent_dim, false);
  add_linear(specs, prefix + "kv_proj.up_v", kv_dim, s.latent_dim, a.qkv_bias);
  add_linear(specs, prefix + "o_proj", a.hidden, a.heads * a.head_dim, a.out_bias);
  return specs;
}

std::vector<TensorSpec> decoder_tensor_specs(const TextConfig& t,
                                             const std::optional<MlaConfig>& mla,
                                             const std::string& prefix) {
  std::vector<TensorSpec> specs;
  specs.push_back({prefix + "model.embed_tokens.weight", {t.vocab_size, t.hidden_size}});
  for (std::int64_t i = 0; i < t.num_hidden_layers; ++i) {
    const std::string layer = prefix + "model.layers." + std::to_string(i) + ".";
    if (mla && mla->is_shared()) {
      append(
          specs,
          shared_mla_tensor_specs(mla->shared_shape(t.attention_shape(), i), layer + "self_attn."));
    } else if (mla) {
      append(specs,
             mla_tensor_specs(mla->layer_shape(t.attention_shape(), i), layer + "self_attn."));
    } else {
      append(specs, mha_tensor_specs(t.attention_shape(), layer + "self_attn."));
    }
    add_linear(specs, layer + "mlp.gate_proj", t.intermediate_size, t.hidden_size, t.mlp_bias);
    add_linear(specs, layer + "mlp.up_proj", t.intermediate_size, t.hidden_size, t.mlp_bias);
    add_linear(specs, layer + "mlp.down_proj", t.hidden_size, t.intermediate_size, t.mlp_bias);
    add_norm(specs, layer + "input_layernorm", t.hidden_size, false);
    add_norm(specs, layer + "post_attention_layernorm", t.hidden_size, false);
  }
  add_norm(specs, prefix + "model.norm", t.hidden_size, false);
  if (!t.tie_word_embeddings)
    specs.push_back({prefix + "lm_head.weight", {t.vocab_size, t.hidden_size}});
  return specs;
}

}  // namespace vmla
