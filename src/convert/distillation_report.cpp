#include "convert/distillation_report.h"

#include <fmt/format.h>

namespace vmla {
namespace {

Json parts_json(const DistillationReport::Parts& parts) {
  Json out = Json::object();
  for (const auto& [name, part] :
       {std::pair("text", &parts.text), std::pair("answers", &parts.answers)}) {
    if (part->samples == 0) continue;
    out[name] = {{"samples", part->samples}, {"before", part->before}, {"after", part->after}};
  }
  return out;
}

std::string parts_text(const char* name, const DistillationReport::Parts& parts) {
  std::string out = fmt::format("{}: next-token KL", name);
  for (const auto& [kind, part] :
       {std::pair(" text", &parts.text), std::pair(" answers", &parts.answers)}) {
    if (part->samples == 0) continue;
    out += fmt::format(
        "{} {:.5f} -> {:.5f} ({} samples)", kind, part->before, part->after, part->samples);
  }
  return out + "\n";
}

}  // namespace

Json DistillationReport::json() const {
  return {{"steps", steps},
          {"learning_rate", learning_rate},
          {"best_step", best_step},
          {"kept", kept()},
          {"held_out_kl", parts_json(held_out)},
          {"trained_kl", parts_json(trained)}};
}

std::string DistillationReport::text() const {
  std::string out =
      kept() ? fmt::format("distillation: the factors of step {} of {}\n", best_step, steps)
             : fmt::format(
                   "distillation: no lower KL on held-out samples in {} steps; "
                   "the undistilled factors stay\n",
                   steps);
  return out + parts_text("  held out", held_out) + parts_text("  trained on", trained);
}

}  // namespace vmla
