#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "demo/pipeline.h"

namespace vmla {
namespace {

struct DemoFlags {
  ModelOptions model;
  OutputOptions output;
  DemoOptions demo;
  std::string output_dir = "./demo-output";
};

void run_demo_verb(DemoFlags& flags) {
  flags.output.apply();
  flags.demo.model = flags.model.directory();
  flags.demo.device = flags.model.torch_device();
  flags.demo.dtype = flags.model.scalar_type();
  flags.demo.output_dir = flags.output_dir;
  const DemoReport report = run_demo(flags.demo);
  if (flags.output.json) {
    print_json(demo_json(report));
    return;
  }
  print_text(
      demo_text(report) + "\nThe same for LLaVA-1.5-7B:\n" + seven_b_commands() +
      fmt::format("\nreport: {}\n", (absolute_path(flags.output_dir) / "report.html").string()));
}

}  // namespace

void add_demo_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "demo");
  const auto flags = std::make_shared<DemoFlags>();
  flags->model.dtype = "float32";
  add_model_options(*verb, flags->model);
  DemoOptions& demo = flags->demo;
  add_value(*verb,
            "--output_dir",
            flags->output_dir,
            "DIR",
            "for report.html, report.json and the models");
  add_value(*verb, "--questions", demo.questions, "N", "questions that each model is asked");
  add_value(*verb, "--train_images", demo.train_images, "N", "images to rank and heal with");
  add_value(*verb, "--heal_steps", demo.heal_steps, "N", "optimizer steps of healing");
  add_value(*verb, "--heal_batch", demo.heal_batch, "N", "samples a step");
  add_value(
      *verb, "--heal_learning_rate", demo.heal_learning_rate, "LR", "learning rate of healing");
  add_value(
      *verb, "--fit_steps", demo.fit_steps, "N", "steps of the recipe best's fit of each layer");
  add_value(*verb, "--seed", demo.seed, "N", "seed of the generated data");
  add_switch(*verb, "--overwrite", demo.overwrite, "replace --output_dir");
  add_output_options(*verb, flags->output);
  verb->callback([flags] { run_demo_verb(*flags); });
}

}  // namespace vmla
