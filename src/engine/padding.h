// Padding inside a cache moved out of the way.
#pragma once

#include <torch/types.h>

#include "nn/kv_cache.h"

namespace vmla {

// int64 [B, T]: for each row its padding's columns, then those of its real tokens, each in their
// order. key_mask bool [B, T], false = padding.
at::Tensor padding_first(const at::Tensor& key_mask);

// Row b's token t becomes the one at index[b, t]. index int64 [B, cache.length()]; in place. Where
// a token stands in the cache does not matter to attention: rotary keys carry their positions.
void reorder_tokens(ContiguousCache& cache, const at::Tensor& index);

}  // namespace vmla
