#include "nn/rope_selection.h"

#include "base/error.h"

namespace vmla {

void check_rope_selection(const RopeSelection& s, std::int64_t head_dim) {
  const bool known =
      s.version == "high" || s.version == "low" || s.version == "uniform" || s.needs_ranks();
  check(known,
        ErrorKind::Usage,
        "partial_rope_version: expected high, low, uniform, 2-norm or kl, got {}",
        s.version);
  check(s.rope_dim > 0 && s.rope_dim % 2 == 0 && s.rope_dim <= head_dim,
        ErrorKind::Usage,
        "rope_dim_for_mla: expected an even number from 2 to head_dim {}, got {}",
        head_dim,
        s.rope_dim);
  if (s.version == "uniform") {
    check(head_dim % s.rope_dim == 0 && (head_dim / 2) % (head_dim / s.rope_dim) == 0,
          ErrorKind::Usage,
          "rope_dim_for_mla: expected a divisor of head_dim {} whose step divides {} for uniform, "
          "got {}",
          head_dim,
          head_dim / 2,
          s.rope_dim);
    check(s.uniform_start_point >= 0 && s.uniform_start_point < head_dim / s.rope_dim,
          ErrorKind::Usage,
          "uniform_start_point: expected 0 to {}, got {}",
          head_dim / s.rope_dim - 1,
          s.uniform_start_point);
  }
}

}  // namespace vmla
