#include "cli/commands.h"
#include "cli/options.h"

namespace vmla {

void add_eval_command(CLI::App& program) {
  CLI::App* verb = program.add_subcommand("eval", "score predictions and compare runs");
  verb->require_subcommand(1);
  add_eval_score(*verb);
}

}  // namespace vmla
