#include "cli/commands.h"
#include "cli/options.h"

namespace vmla {

void add_eval_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "eval");
  verb->require_subcommand(0, 1);
  add_eval_run(*verb);
  add_eval_score(*verb);
}

}  // namespace vmla
