// HF's frequency scalings of rotary embeddings, as data.
#pragma once

#include <cstdint>

namespace vmla {

enum class RopeScalingKind { None, Linear, Dynamic, Llama3 };

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::None;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_position = 0;
};

}  // namespace vmla
