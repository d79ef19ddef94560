#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/inspection.h"
#include "cli/options.h"

namespace vmla {
namespace {

struct InspectOptions {
  ModelOptions model;
  bool json = false;
};

}  // namespace

void add_inspect_command(CLI::App& program) {
  CLI::App* verb =
      program.add_subcommand("inspect", "say what a model directory holds, without its weights");
  const auto options = std::make_shared<InspectOptions>();
  verb->add_option("MODEL", options->model.model, "model directory or Hugging Face id")
      ->type_name("DIR|ID")
      ->required();
  add_value(*verb, "--revision", options->model.revision, "NAME", "branch, tag or commit of an id");
  add_switch(*verb, "--json", options->json, "print a machine-readable report on stdout");
  verb->footer(
      "Exit code 0 also when problems are listed; another one only when there is nothing to say.");
  verb->callback([options] {
    const Inspection inspection = inspect_model(options->model.directory());
    if (options->json) {
      print_json(inspection_json(inspection));
    } else {
      print_text(inspection_text(inspection));
    }
  });
}

}  // namespace vmla
