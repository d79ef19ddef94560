// The verbs by name, for the program that lists them without knowing their flags.
#pragma once

#include <span>
#include <string>

namespace CLI {
class App;
}

namespace vmla {

struct VerbName {
  const char* name;
  const char* alias;  // the Python original's name; empty without one
  const char* text;   // its line in --help
};

// In the order of --help.
std::span<const VerbName> verb_names();
// By name or alias; null when there is none.
const VerbName* find_verb_name(const std::string& name);

// Adds the subcommand of that name with its alias and its line in --help; it must be in the list.
CLI::App* add_verb(CLI::App& program, const std::string& name);

}  // namespace vmla
