#include "cli/verbs.h"

#include <CLI/CLI.hpp>
#include <array>

#include "base/error.h"

namespace vmla {
namespace {

constexpr std::array kVerbs = {
    VerbName{"rank",
             "generate_2norm",
             "rank the rotary dims of each head on calibration data, by 2-norm or KL"},
    VerbName{"convert", "", "turn multi-head attention into latent attention (MLA)"},
    VerbName{"train", "", "fine-tune a model, converted or not"},
    VerbName{"generate", "", "answer a prompt about images"},
    VerbName{"bench",
             "benchmark_memory",
             "measure memory and speed of a model, or of two beside each other"},
    VerbName{"eval",
             "",
             "ask a model a benchmark's questions and score it; perplexity; agreement with another "
             "model; score predictions; compare runs"},
    VerbName{"eval_vqa", "", "eval with the Python original's prompt, limits and files"},
    VerbName{"inspect", "", "say what a model directory holds, without its weights"},
    VerbName{"download", "", "bring a model or dataset from the Hugging Face hub to this machine"},
    VerbName{
        "download_dataset", "", "bring the conversations of LLaVA-Instruct-150K to this machine"},
    VerbName{"make_data",
             "",
             "draw scenes and ask about them: LLaVA-Instruct and VQAv2 files for the demo"},
    VerbName{"demo", "", "the whole story on a small model: convert, score, heal, measure"},
};

}  // namespace

std::span<const VerbName> verb_names() {
  return kVerbs;
}

const VerbName* find_verb_name(const std::string& name) {
  for (const VerbName& verb : kVerbs) {
    if (!name.empty() && (verb.name == name || verb.alias == name)) return &verb;
  }
  return nullptr;
}

CLI::App* add_verb(CLI::App& program, const std::string& name) {
  const VerbName* found = find_verb_name(name);
  check(found != nullptr, ErrorKind::Internal, "verb {}: expected it in the list of verbs", name);
  CLI::App* verb = program.add_subcommand(found->name, found->text);
  if (*found->alias != '\0') verb->alias(found->alias);
  return verb;
}

}  // namespace vmla
