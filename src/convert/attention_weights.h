// One layer's attention as plain tensors, and converted attentions made from such.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>

#include "model/config.h"
#include "nn/attention.h"
#include "nn/decoder.h"

namespace vmla {

// By name below self_attn, such as "q_proj.weight".
using AttentionWeights = std::map<std::string, at::Tensor>;

// MHA or GQA of a source model. Biases are undefined where it has none.
struct SourceAttention {
  AttentionShape shape;
  at::Tensor q, k, v, o;  // weights [H*D, E], [K*D, E], [K*D, E], [E, H*D]
  at::Tensor q_bias, k_bias, v_bias, o_bias;
};
SourceAttention source_attention(DecoderLayer& layer, const ModelConfig& config);

AttentionWeights weights_of(Attention& attention);
// Every parameter of attention must be among the weights; they are copied in dtype to device.
void set_weights(Attention& attention,
                 const AttentionWeights& weights,
                 at::ScalarType dtype,
                 at::Device device);

// While it lives, the attention puts out what o_proj is applied to: [B, S, H*D].
class WithoutOutputProjection {
 public:
  explicit WithoutOutputProjection(Attention& attention);
  ~WithoutOutputProjection();
  WithoutOutputProjection(const WithoutOutputProjection&) = delete;
  WithoutOutputProjection& operator=(const WithoutOutputProjection&) = delete;

 private:
  at::Tensor *weight_ = nullptr, *bias_ = nullptr;
  at::Tensor old_weight_, old_bias_;
};

}  // namespace vmla
