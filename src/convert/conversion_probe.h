// How far a converted model is from its source on data, layer by layer and at the end, before
// anything is saved.
#pragma once

#include <torch/types.h>

#include <memory>

#include "convert/calibration.h"
#include "convert/report.h"
#include "nn/mla_attention.h"

namespace vmla {

// What enters the dot product: q [B, S, H, D], k [B, S, K, D], the kept dims first. kept int64 [K,
// R]; x [B, S, E].
struct KeysAndQueries {
  at::Tensor q, k;
};
KeysAndQueries latent_keys_and_queries(Attention& attention,
                                       const MlaShape& shape,
                                       const at::Tensor& kept,
                                       const at::Tensor& x,
                                       const StreamBatch& batch);

// Carries the source's and the converted model's streams side by side.
class ConversionProbe {
 public:
  // checkpoint must outlive it. Errors: as CalibrationModel's.
  ConversionProbe(const Checkpoint& checkpoint, const CalibrationSet& set, at::Device device);

  // Layers 0, 1, … in turn: converted runs in float32. The errors are those of this layer alone, on
  // the source's stream. kept int64 [K, R] of latent attention with heads' own rope rows, whose
  // logits are then compared, too.
  AttentionErrors add_layer(std::int64_t layer, Attention& converted, const at::Tensor& kept = {});
  // The same for any attention and without the errors.
  void carry_layer(std::int64_t layer, const Attention& converted);
  // After the last layer.
  NextTokenAgreement finish();

 private:
  KeysAndQueries keys_and_queries(std::int64_t layer,
                                  DecoderLayer& original,
                                  const AttentionView& view,
                                  const StreamBatch& batch) const;

  CalibrationModel model_;
  std::unique_ptr<CalibrationStream> source_, converted_;
  std::vector<at::Tensor> source_kept_;  // of a partial-RoPE source
};

// Sums over real queries and heads of two attentions' logits.
class LogitErrors {
 public:
  // q, k as in attention_log_probs; real bool [B, S].
  void add(const KeysAndQueries& source, const KeysAndQueries& converted, const at::Tensor& real);
  // Var_a(difference) / Var_a(logits), a the source's probabilities: the part of the logits that
  // the softmax sees.
  double share() const { return spread_ > 0.0 ? error_ / spread_ : 0.0; }
  double divergence() const { return count_ > 0.0 ? divergence_ / count_ : 0.0; }  // mean KL

 private:
  double error_ = 0.0, spread_ = 0.0, divergence_ = 0.0, count_ = 0.0;
};

}  // namespace vmla
