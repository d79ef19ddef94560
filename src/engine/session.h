// A batch of sequences in progress: their cache, their padding and their positions.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>

#include "model/vlm.h"

namespace vmla {

struct SessionOptions {
  CacheMode cache_mode = CacheMode::Native;
  AttentionPath path = AttentionPath::Auto;
  std::int64_t prefill_chunk = 0;  // how many tokens go through the layers at a time; 0 = all
};

// Mechanism only: what is fed, and which token is taken, is the caller's business. Runs in
// inference mode. Not thread-safe; the model must outlive it.
class Session {
 public:
  Session(const Vlm& model, std::int64_t batch, const SessionOptions& options = {});
  CacheFormat cache_format;

  // Appends tokens to all rows. embeddings [B, S, E]; key_mask bool [B, S], false = padding,
  // undefined = none. Padding may stand anywhere; positions count real tokens only.
  // -> the normed last hidden states [B, S, E].
  at::Tensor append(const at::Tensor& embeddings, const at::Tensor& key_mask = {});
  // The same -> fp32 logits [B, V] of each row's last real token.
  at::Tensor prefill(const at::Tensor& embeddings, const at::Tensor& key_mask = {});
  // One token a row: tokens int64 [B] -> fp32 logits [B, V].
  at::Tensor step(const at::Tensor& tokens);

  // Keeps rows index [B'] (int64), in that order; a row may be named several times, so that one
  // prefix serves many continuations.
  void select_rows(const at::Tensor& index);
  // Forgets everything behind the first `length` tokens of each row.
  void truncate(std::int64_t length);

  std::int64_t batch() const { return cache_->batch(); }
  std::int64_t length() const { return cache_->length(); }  // tokens a row, padding included
  ContiguousCache& cache() { return *cache_; }

 private:
  at::Tensor forward(const at::Tensor& embeddings, const at::Tensor& positions);
  at::Tensor note_tokens(std::int64_t count, const at::Tensor& key_mask);

  const Vlm& model_;
  SessionOptions options_;
  std::unique_ptr<ContiguousCache> cache_;
  // Only once padding was seen: real tokens [B, capacity >= length], true behind length; and how
  // many real tokens each row has [B].
  at::Tensor key_mask_;
  at::Tensor real_tokens_;
};

}  // namespace vmla
