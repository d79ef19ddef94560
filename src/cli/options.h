// How verbs declare their flags, and the flags that several verbs share.
#pragma once

#include <fmt/format.h>
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/files.h"
#include "base/json.h"

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

// Which model, where it runs and in which type.
struct ModelOptions {
  std::string model;
  std::string device = "auto";
  std::string dtype = "bfloat16";
  std::string revision;
  bool local_files_only = false;

  at::ScalarType scalar_type() const;
  at::Device torch_device() const;
  // The model's directory, found on disk or in the Hugging Face cache.
  fs::path directory() const { return directory_of(model); }
  fs::path directory_of(const std::string& name) const;
};

// --device, --dtype (named dtype_flag), --local_files_only, --revision.
void add_runtime_options(CLI::App& verb,
                         ModelOptions& options,
                         const std::string& dtype_flag = "--dtype");
// --model and the above.
void add_model_options(CLI::App& verb,
                       ModelOptions& options,
                       const std::string& dtype_flag = "--dtype");

// --json, --threads.
struct OutputOptions {
  bool json = false;
  std::int64_t threads = 0;  // 0: libtorch's default

  // Call it before the first tensor operation.
  void apply() const;
};
void add_output_options(CLI::App& verb, OutputOptions& options);

// The report of --json: stdout, indented, one trailing newline.
void print_json(const Json& report);
// Errors: ErrorKind::Io when stdout cannot take it (disk full).
void print_text(const std::string& text);

}  // namespace vmla
