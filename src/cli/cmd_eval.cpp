#include "cli/commands.h"
#include "cli/options.h"

namespace vmla {

void add_eval_command(CLI::App& program) {
  for (const bool original : {false, true}) {
    CLI::App* verb = add_verb(program, original ? "eval_vqa" : "eval");
    verb->require_subcommand(0, 1);
    add_eval_run(*verb, original);
    add_eval_score(*verb);
    add_eval_compare(*verb);
  }
}

}  // namespace vmla
