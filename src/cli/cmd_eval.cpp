#include "cli/commands.h"
#include "cli/options.h"

namespace vmla {

void add_eval_command(CLI::App& program) {
  CLI::App* verb = program.add_subcommand(
      "eval", "ask a model a benchmark's questions and score it; score predictions; compare runs");
  verb->require_subcommand(0, 1);
  verb->alias("eval_vqa");
  add_eval_run(*verb);
  add_eval_score(*verb);
}

}  // namespace vmla
