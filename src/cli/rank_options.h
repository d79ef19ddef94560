// --nproc_per_node, for the verbs that run on several ranks.
#pragma once

#include <cstdint>

#include "cli/flags.h"

namespace vmla {

struct RankOptions {
  std::int64_t nproc_per_node = 0;

  // Starts this machine's ranks and waits for them, unless this process is a rank already or is to
  // work alone (false). Throws CLI::RuntimeError with the exit code of a rank that failed. Errors:
  // ErrorKind::Usage, those of launch_ranks.
  bool started_ranks() const;
};

void add_rank_options(CLI::App& verb, RankOptions& options);

}  // namespace vmla
