#include "cli/run_verbs.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/files.h"
#include "cli/arguments.h"
#include "cli/flags.h"
#include "cli/help_formatter.h"

namespace vmla {
namespace {

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

int report(ErrorKind kind, const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "error: {}\n", message);
  return static_cast<int>(kind);
}

std::unique_ptr<CLI::App> make_app(AddVerbs add_verbs) {
  auto app = std::make_unique<CLI::App>(
      "vlm-mla turns vision-language models with multi-head attention into models with multi-head "
      "latent\nattention (MLA), and runs them.",
      "vlm-mla");
  app->formatter(std::make_shared<HelpFormatter>());
  app->set_help_flag("-h,--help", "show this text");
  app->set_version_flag("--version", VMLA_VERSION, "show the version");
  app->require_subcommand(1);
  app->footer("Each verb has its own --help. Flags may be written with - for _.");
  add_verbs(*app);
  return app;
}

std::string known_verbs(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : verbs(app)) names.push_back(verb->get_name());
  return fmt::format("{}", fmt::join(names, ", "));
}

int parse_and_run(CLI::App& app, const std::vector<std::string>& given) {
  const std::vector<std::string> arguments = normalise_arguments(app, given);
  const std::string verb = verb_of(arguments);
  const bool known = find_verb(app, verb) != nullptr;
  const std::string first = arguments.empty() ? "none" : arguments.front();
  const bool is_question = first == "-h" || first == "--help" || first == "--version";
  check(known || (verb.empty() && is_question),
        ErrorKind::Usage,
        "verb: expected one of {}, got {}",
        known_verbs(app),
        verb.empty() ? first : verb);
  try {
    // The parser takes its arguments from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::RuntimeError& e) {
    return e.get_exit_code();
  } catch (const CLI::CallForVersion&) {
    print_text(fmt::format("vlm-mla {}\n", VMLA_VERSION));
  } catch (const CLI::CallForHelp&) {
    print_text(app.help());
  } catch (const CLI::ParseError& e) {
    fail(ErrorKind::Usage,
         "{}{} (see vlm-mla {}{}--help)",
         known ? verb + ": " : "",
         first_line(e.what()),
         known ? verb : "",
         known ? " " : "");
  }
  return 0;
}

}  // namespace

int run_verbs(AddVerbs add_verbs, int argc, const char* const* argv, Translate translate) {
  // A write beyond the limit of a file's size then fails with a reason, as one to a full disk does.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const auto app = make_app(add_verbs);
    return parse_and_run(*app, {argv + std::min(argc, 1), argv + argc});
  } catch (const Error& e) {
    return report(e.kind(), first_line(e.what()));
  } catch (const std::bad_alloc&) {
    return report(ErrorKind::Device, "memory: out of memory");
  } catch (const fs::filesystem_error& e) {
    return report(ErrorKind::Io, first_line(e.what()));
  } catch (const std::exception& e) {
    if (const auto known = translate == nullptr ? std::nullopt : translate(e))
      return report(known->kind(), first_line(known->what()));
    return report(ErrorKind::Internal, "internal: " + first_line(e.what()));
  }
}

}  // namespace vmla
