#include "cli/rank_options.h"

#include "base/error.h"
#include "dist/launcher.h"
#include "dist/rank_layout.h"

namespace vmla {

bool RankOptions::started_ranks() const {
  check(nproc_per_node >= 0,
        ErrorKind::Usage,
        "--nproc_per_node: expected 0 or more, got {}",
        nproc_per_node);
  if (nproc_per_node == 0 || !read_rank_layout().launcher.empty()) return false;
  const int code = launch_ranks(nproc_per_node);
  if (code != 0) throw CLI::RuntimeError(code);
  return true;
}

void add_rank_options(CLI::App& verb, RankOptions& options) {
  add_value(verb,
            "--nproc_per_node",
            options.nproc_per_node,
            "N",
            "start N ranks on this machine (0: this process alone, or as torchrun, srun or mpirun "
            "say)");
}

}  // namespace vmla
