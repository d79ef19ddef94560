// How verbs declare themselves and their flags, and print what they found.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "base/json.h"
#include "cli/verbs.h"

namespace vmla {

namespace detail {
template <typename T>
std::string default_text(const T& value) {
  if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
    return fmt::format("{}", value);
  } else {
    return {};
  }
}
}  // namespace detail

// A flag that takes a value. name is spelt with underscores ("--low_rank"); hyphens are accepted
// too. The value at the time of the call is shown as the default. Given twice, the last one counts.
template <typename T>
CLI::Option* add_value(CLI::App& verb,
                       const std::string& name,
                       T& value,
                       const std::string& placeholder,
                       const std::string& help) {
  CLI::Option* option = verb.add_option(name, value, help)->type_name(placeholder);
  if (const std::string text = detail::default_text(value); !text.empty())
    option->default_str(text);
  return option->take_last();
}

// A flag that may be given several times, or once with values separated by separator.
template <typename T>
CLI::Option* add_list(CLI::App& verb,
                      const std::string& name,
                      std::vector<T>& values,
                      const std::string& placeholder,
                      const std::string& help,
                      char separator = '\0') {
  CLI::Option* option = verb.add_option(name, values, help)->type_name(placeholder);
  option->expected(1)->take_all();
  if (separator != '\0') option->delimiter(separator);
  return option;
}

// A boolean: `--flag`, `--flag True`, `--flag=false`.
CLI::Option* add_switch(CLI::App& verb,
                        const std::string& name,
                        bool& value,
                        const std::string& help);

// The report of --json: stdout, indented, one trailing newline.
void print_json(const Json& report);
// Errors: ErrorKind::Io when stdout cannot take it (disk full).
void print_text(const std::string& text);

}  // namespace vmla
