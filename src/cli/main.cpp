// vlm-mla: answers by itself what needs no libtorch, in milliseconds; for all else it becomes
// vlm-mla-torch, which stands beside it and takes half a second and 100 MB to load.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/run_verbs.h"
#include "cli/verbs.h"

namespace {

constexpr const char* kInspect = "inspect";

void add_verbs(CLI::App& program) {
  for (const vmla::VerbName& verb : vmla::verb_names()) {
    if (verb.name == std::string(kInspect)) {
      vmla::add_inspect_command(program);
    } else {
      vmla::add_verb(program, verb.name);  // for --help; it is never run here
    }
  }
}

// Returns only when that fails.
int become_the_whole_program(char** argv) {
  std::error_code ec;
  const vmla::fs::path self = vmla::fs::read_symlink("/proc/self/exe", ec);
  const std::string whole = (self.parent_path() / "vlm-mla-torch").string();
  ::execv(whole.c_str(), argv);
  fmt::print(stderr,
             "error: {}: expected the program that holds this verb, cannot be started: {}\n",
             whole,
             std::strerror(errno));
  return static_cast<int>(vmla::ErrorKind::Io);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const vmla::VerbName* verb = vmla::find_verb_name(vmla::verb_of(arguments));
  if (verb != nullptr && verb->name != std::string(kInspect)) return become_the_whole_program(argv);
  return vmla::run_verbs(&add_verbs, argc, argv);
}
