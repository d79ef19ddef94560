#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/inspection.h"
#include "hub/hub_cache.h"

namespace vmla {
namespace {

struct InspectOptions {
  std::string model, revision;
  bool json = false;
};

}  // namespace

void add_inspect_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "inspect");
  const auto options = std::make_shared<InspectOptions>();
  verb->add_option("MODEL", options->model, "model directory or Hugging Face id")
      ->type_name("DIR|ID")
      ->required();
  add_value(*verb, "--revision", options->revision, "NAME", "branch, tag or commit of an id");
  add_switch(*verb, "--json", options->json, "print a machine-readable report on stdout");
  verb->footer(
      "Exit code 0 also when problems are listed; another one only when there is nothing to say.");
  verb->callback([options] {
    const fs::path dir = options->revision.empty()
                             ? resolve_model(options->model)
                             : resolve_model(options->model, options->revision);
    const Inspection inspection = inspect_model(dir);
    if (options->json) {
      print_json(inspection_json(inspection));
    } else {
      print_text(inspection_text(inspection));
    }
  });
}

}  // namespace vmla
