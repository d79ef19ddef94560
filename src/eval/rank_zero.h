// What one rank does for all ranks of a run.
#pragma once

#include <functional>

#include "dist/process_group.h"

namespace vmla {

// Rank 0 works while the others wait. Its error ends all: it throws its own, the others one of the
// same kind. Errors: those of work; ErrorKind::Device when a rank is gone.
void on_rank_zero(ProcessGroup& group, const std::function<void()>& work);

}  // namespace vmla
