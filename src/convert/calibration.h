// What calibration computes with: a model of which one layer is in memory at a time, and the stream
// of all samples that is carried through it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "convert/calibration_data.h"
#include "model/vlm.h"

namespace vmla {

// Weights are loaded and let go by part, so that a 7B model needs the memory of one layer.
class CalibrationModel {
 public:
  // checkpoint must outlive this. Nothing is loaded yet. Errors: as load_vlm's.
  CalibrationModel(const Checkpoint& checkpoint, at::Device device, at::ScalarType dtype);

  const ModelConfig& config() const { return vlm_->config(); }
  const Vlm& vlm() const { return *vlm_; }
  Vlm& vlm() { return *vlm_; }
  std::int64_t layers() const { return config().text.num_hidden_layers; }

  // The layer with its weights, which stay until release_layer.
  DecoderLayer& layer(std::int64_t index);
  void release_layer(std::int64_t index);
  // From now on a layer that is released stays packed: in 16 bits where these hold its numbers,
  // as they do where the checkpoint has them so. release_packed lets go of that, too.
  void keep_packed() { keeps_packed_ = true; }
  void release_packed(std::int64_t index);
  // Tower, projector and token embeddings.
  void load_inputs();
  void release_inputs();
  // Final norm and head (with a tied head the embeddings, which release_inputs keeps then).
  void load_head();

 private:
  void load(const std::string& prefix);
  void release(const std::string& prefix);

  const Checkpoint& checkpoint_;
  std::unique_ptr<Vlm> vlm_;
  bool keeps_packed_ = false;
  std::map<std::string, at::Tensor> packed_;  // by a parameter's name
};

// A layer's parameters below its name, such as "self_attn.q_proj.weight".
std::map<std::string, at::Tensor> layer_weights(DecoderLayer& layer);

// One batch on its way through the layers.
struct StreamBatch {
  at::Tensor hidden;     // [B, S, E], the stream before the layer that comes next
  at::Tensor real;       // bool [B, S]; padding stands on the right, where no real token sees it
  at::Tensor image;      // bool [B, S], image tokens
  at::Tensor labels;     // int64 [B, S], kIgnoredLabel where nothing is asked
  at::Tensor cos, sin;   // [1, S, D]
  bool is_text = false;  // a text window, no conversation

  at::Tensor text() const;  // bool [B, S], real tokens that are no image
  AttentionContext context() const;
};

// The stream of a whole CalibrationSet. Copies are independent (tensors are replaced, never written
// to), so the original's stream and a converted model's can be advanced side by side. It holds
// tokens * E numbers, which is what bounds calibration's memory beside one layer.
class CalibrationStream {
 public:
  // Needs the model's inputs loaded; they may be released afterwards.
  CalibrationStream(const CalibrationModel& model, const CalibrationSet& set);

  std::int64_t size() const { return static_cast<std::int64_t>(batches_.size()); }
  const StreamBatch& batch(std::int64_t index) const {
    return batches_.at(static_cast<std::size_t>(index));
  }
  // Replaces every batch's stream by the layer's output, the original layer or a converted one.
  void advance(const DecoderLayer& layer);
  // The same with one's own body: hidden [B, S, E] -> [B, S, E].
  void advance(const std::function<at::Tensor(const StreamBatch&)>& body);

 private:
  std::vector<StreamBatch> batches_;
};

// What attention sees and does at one layer for one batch. For an MHA layer all is defined; for a
// layer of another attention only before, x and after are.
struct AttentionView {
  at::Tensor before;        // [B, S, E], the stream before attention
  at::Tensor x;             // [B, S, E], after input_layernorm: the input of q, k and v
  at::Tensor q;             // [B, S, H, D], before RoPE, bias included; also below
  at::Tensor k, v;          // [B, S, K, D]
  at::Tensor q_rot, k_rot;  // as q and k, after RoPE
  at::Tensor mixed;         // [B, S, H*D], heads' outputs: the input of o_proj
  at::Tensor after;         // [B, S, E], the stream after attention
};

// x alone, for statistics that need no more. [B, S, E]
at::Tensor attention_input(const DecoderLayer& layer, const StreamBatch& batch);
// All but mixed and after, which are the dear ones.
AttentionView view_projections(DecoderLayer& layer,
                               const ModelConfig& config,
                               const StreamBatch& batch);
AttentionView view_attention(DecoderLayer& layer,
                             const ModelConfig& config,
                             const StreamBatch& batch);
// Visits the stream's batches one after the other; batches are in the order of the set.
using AttentionVisitor = std::function<void(const AttentionView&, const StreamBatch&)>;
void visit_attention(DecoderLayer& layer,
                     const ModelConfig& config,
                     const CalibrationStream& stream,
                     const AttentionVisitor& visitor);

// [B, H, S, S] log-probabilities of causal attention in double; q, k as they enter the dot product
// [B, S, H | K, D]. What a query may not see is -infinity. Padded rows hold garbage.
at::Tensor attention_log_probs(const at::Tensor& q, const at::Tensor& k);

}  // namespace vmla
