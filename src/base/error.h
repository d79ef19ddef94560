// Errors of vlm-mla: one exception type whose kind decides the process's exit code.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace vmla {

// The numbers are the exit codes of the program; they are part of its interface.
enum class ErrorKind {
  Usage = 2,        // flags and arguments
  Io = 3,           // a file cannot be read or written
  Checkpoint = 4,   // a weight, rank or tokenizer file is damaged or does not fit
  Config = 5,       // a config file lacks or contradicts something
  Unsupported = 6,  // valid input that this version does not handle
  Numeric = 7,      // NaN, divergence, singular matrix
  Device = 8,       // no such device, out of memory
  Internal = 9,     // a defect of ours
};

const char* error_kind_name(ErrorKind kind);

// what() reads "subject: expected, got".
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// check(ok, ErrorKind::Config, "config.json: expected {}, got {}", a, b)
template <typename... Args>
void check(bool ok, ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace vmla
