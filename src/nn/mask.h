// Attention masks as booleans: true = may be attended.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace vmla {

// key_mask bool [B, T] (false = padding); the last S of the T tokens are the queries.
// -> bool [B, 1, S, T]: causal, without padding; each query sees at least itself, so that rows of
// padding stay finite. Source of the need: fully masked rows make the flash backward explode.
at::Tensor causal_mask(const at::Tensor& key_mask, std::int64_t queries);

// Positions of real tokens count from 0: key_mask [B, T] -> int64 [B, T]; padding before the first
// token gets 0.
at::Tensor positions_from_mask(const at::Tensor& key_mask);

}  // namespace vmla
