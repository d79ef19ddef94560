#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

namespace vmla {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return text;
}

bool is_boolean(const std::string& text) {
  const std::string low = lower(text);
  return low == "true" || low == "false";
}

bool is_long_flag(const std::string& text) {
  return text.size() > 2 && text.compare(0, 2, "--") == 0;
}

}  // namespace

std::string verb_of(const std::vector<std::string>& arguments) {
  for (const auto& a : arguments) {
    if (!a.empty() && a[0] != '-') return a;
  }
  return {};
}

bool is_switch(const CLI::Option& option) {
  return option.get_expected_max() == 0;
}

std::vector<const CLI::App*> verbs(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App* /*all*/) { return true; });
}

const CLI::App* find_verb(const CLI::App& program, const std::string& name) {
  for (const CLI::App* verb : verbs(program)) {
    if (!name.empty() && verb->check_name(name)) return verb;
  }
  return nullptr;
}

std::vector<std::string> normalise_arguments(const CLI::App& program,
                                             std::vector<std::string> arguments) {
  const std::string name_of_verb = verb_of(arguments);
  const CLI::App* verb = find_verb(program, name_of_verb);
  if (verb != nullptr) {
    // "eval score": a verb of the verb stands right behind it.
    const auto behind = std::find(arguments.begin(), arguments.end(), name_of_verb) + 1;
    const CLI::App* nested = behind == arguments.end() ? nullptr : find_verb(*verb, *behind);
    if (nested != nullptr) verb = nested;
  }
  std::vector<std::string> out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string token = arguments[i];
    if (token == "--") {
      out.insert(out.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
      break;
    }
    if (is_long_flag(token)) {
      const std::size_t equals = std::min(token.find('='), token.size());
      std::replace(
          token.begin() + 2, token.begin() + static_cast<std::ptrdiff_t>(equals), '-', '_');
      const std::string name = token.substr(0, equals);
      if (const CLI::Option* flag = verb == nullptr ? nullptr : verb->get_option_no_throw(name);
          flag != nullptr && is_switch(*flag)) {
        if (equals < token.size()) {
          token.replace(equals + 1, std::string::npos, lower(token.substr(equals + 1)));
        } else if (i + 1 < arguments.size() && is_boolean(arguments[i + 1])) {
          token += "=" + lower(arguments[++i]);
        }
      }
    }
    out.push_back(std::move(token));
  }
  return out;
}

}  // namespace vmla
