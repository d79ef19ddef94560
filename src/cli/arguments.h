// Spellings that the parser does not know itself.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace vmla {

// "--low-rank=8" -> "--low_rank=8"; "--ignore_eos True" -> "--ignore_eos=true" where the flag of
// the verb that is named is a switch. Nothing after "--" is touched.
std::vector<std::string> normalise_arguments(const CLI::App& program,
                                             std::vector<std::string> arguments);

// The first argument that is no flag; empty when there is none.
std::string verb_of(const std::vector<std::string>& arguments);
// Whether it takes no value.
bool is_switch(const CLI::Option& option);
// All subcommands of program.
std::vector<const CLI::App*> verbs(const CLI::App& program);
// By name or alias; null when there is none.
const CLI::App* find_verb(const CLI::App& program, const std::string& name);

}  // namespace vmla
