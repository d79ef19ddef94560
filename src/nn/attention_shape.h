// The geometry of attention, as data.
#pragma once

#include <cstdint>

namespace vmla {

struct AttentionShape {
  std::int64_t hidden = 0;    // E
  std::int64_t heads = 0;     // H
  std::int64_t kv_heads = 0;  // K, divides H
  std::int64_t head_dim = 0;  // D
  bool qkv_bias = false;
  bool out_bias = false;
};

// What a model caches: its own layout, or full K and V (for comparison with MHA and with the Python
// original).
enum class CacheMode { Native, Expanded };

}  // namespace vmla
