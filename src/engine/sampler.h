// From logits to the next tokens.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <random>
#include <vector>

#include "engine/generation_options.h"

namespace vmla {

// transformers' RepetitionPenaltyLogitsProcessor: where seen, positive logits are divided by
// penalty and negative ones multiplied. logits fp32 [B, V], seen bool [B, V] -> [B, V].
at::Tensor penalise_repetition(const at::Tensor& logits, const at::Tensor& seen, double penalty);

// transformers' warpers in its order: temperature, top_k, top_p, min_p. What may not be drawn
// becomes -inf. logits fp32 [B, V] -> [B, V]. temperature > 0.
at::Tensor warp_logits(const at::Tensor& logits, const GenerationOptions& options);

class Sampler {
 public:
  // prompts: the token ids of each row; the repetition penalty counts them as seen. Row i draws
  // from its own random numbers, which depend on the seed and on i alone.
  Sampler(const GenerationOptions& options,
          const std::vector<std::vector<std::int64_t>>& prompts,
          std::int64_t vocab_size,
          at::Device device);

  // logits fp32 [B, V] -> int64 [B], on the same device.
  at::Tensor next(const at::Tensor& logits);

  // Keeps rows index [B'] (int64), in that order, each with its own random numbers.
  void select_rows(const at::Tensor& index);

 private:
  at::Tensor draw(const at::Tensor& logits);

  GenerationOptions options_;
  at::Tensor seen_;  // bool [B, V]; undefined without a penalty
  std::vector<std::mt19937_64> random_;
};

}  // namespace vmla
