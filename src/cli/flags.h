// How verbs declare themselves and their flags, and print what they found.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
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

// Decimal and within T: the parser itself takes 010 for 8 and brings what is too large down to the
// largest number.
template <typename T>
void require_whole_number(CLI::Option& option) {
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    const auto read = [](std::string& text) {
      T value{};
      const char* end = text.data() + text.size();
      const auto [last, error] = std::from_chars(text.data(), end, value);
      if (error != std::errc() || last != end) {
        return fmt::format("expected a whole number from {} to {}, got {}",
                           std::numeric_limits<T>::min(),
                           std::numeric_limits<T>::max(),
                           text);
      }
      text = std::to_string(value);
      return std::string();
    };
    option.transform(CLI::Validator(read, ""));
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
  detail::require_whole_number<T>(*option);
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
  detail::require_whole_number<T>(*option);
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
