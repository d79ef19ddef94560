// A batch of sequences in progress: their cache, their padding and their positions.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/static_step.h"
#include "model/vlm.h"

namespace vmla {

// Tokens a row in a chunk of a prompt of `tokens` tokens a row on a GPU, for so many rows at once.
std::int64_t default_prefill_chunk(std::int64_t batch, std::int64_t tokens);

// How single tokens are decoded. Static: fixed shapes and fused kernels (on a GPU a CUDA graph),
// where the model and the cache allow it; Plain: through Decoder::forward; Auto: Static for 16-bit
// numbers on a GPU, else Plain.
enum class StepEngine { Auto, Plain, Static };
// "auto", "plain", "static". Errors: ErrorKind::Usage.
StepEngine parse_step_engine(const std::string& name);

struct SessionOptions {
  CacheMode cache_mode = CacheMode::Native;
  CacheFormat cache_format;
  AttentionPath path = AttentionPath::Auto;
  StepEngine step_engine = StepEngine::Auto;
  bool step_graph = true;  // Static on a GPU: record a CUDA graph (false: launch one by one)
  // How many tokens a row go through the layers at a time; 0: all on the CPU, on a GPU as many as
  // keep what a forward pass needs beside weights and cache small (docs/gpu.md).
  std::int64_t prefill_chunk = 0;
};

// Mechanism only: what is fed, and which token is taken, is the caller's business. Runs in
// inference mode. Not thread-safe; the model must outlive it.
class Session {
 public:
  Session(const Vlm& model, std::int64_t batch, const SessionOptions& options = {});

  // Appends tokens to all rows. embeddings [B, S, E]; key_mask bool [B, S], false = padding,
  // undefined = none; image: Vlm::image_mask of the tokens, undefined = all are text. Padding may
  // stand anywhere; positions count real tokens only. -> the normed last hidden states [B, S, E].
  at::Tensor append(const at::Tensor& embeddings,
                    const at::Tensor& key_mask = {},
                    const at::Tensor& image = {});
  // The same -> fp32 logits [B, V] of each row's last real token.
  at::Tensor prefill(const at::Tensor& embeddings,
                     const at::Tensor& key_mask = {},
                     const at::Tensor& image = {});
  // One token a row, text: tokens int64 [B] -> fp32 logits [B, V].
  at::Tensor step(const at::Tensor& tokens);

  // A hint: so many tokens a row are still to come, so that room is made for them at once.
  void expect_tokens(std::int64_t more);
  // Whether the last step() went the Static way.
  bool steps_statically() const { return static_step_ != nullptr; }

  // Keeps rows index [B'] (int64), in that order; a row may be named several times, so that one
  // prefix serves many continuations.
  void select_rows(const at::Tensor& index);
  // Forgets everything behind the first `length` tokens of each row.
  void truncate(std::int64_t length);

  std::int64_t batch() const { return cache_->batch(); }
  std::int64_t length() const { return cache_->length(); }  // tokens a row, padding included
  ContiguousCache& cache() { return *cache_; }

 private:
  at::Tensor forward(const at::Tensor& embeddings,
                     const at::Tensor& positions,
                     const at::Tensor& image);
  // Feeds tokens chunk by chunk; use(begin, hidden) sees each chunk's normed last hidden states.
  void feed(const at::Tensor& embeddings,
            const at::Tensor& key_mask,
            const at::Tensor& image,
            const std::function<void(std::int64_t, const at::Tensor&)>& use);
  std::int64_t prefill_chunk(std::int64_t tokens) const;
  at::Tensor note_tokens(std::int64_t count, const at::Tensor& key_mask);
  bool may_step_statically() const;
  at::Tensor padding_in_front();
  void make_static_step();

  const Vlm& model_;
  SessionOptions options_;
  std::unique_ptr<ContiguousCache> cache_;
  // Only once padding was seen: real tokens [B, capacity >= length], true behind length; and how
  // many real tokens each row has [B].
  at::Tensor key_mask_;
  at::Tensor real_tokens_;
  std::int64_t expected_length_ = 0;
  // Gone as soon as anything but a step changes the cache.
  std::unique_ptr<StaticStep> static_step_;
  const bool wants_static_step_;  // the options, the model and the cache allow it
};

}  // namespace vmla
