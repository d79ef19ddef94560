#include "cli/flags.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"

namespace vmla {

CLI::Option* add_switch(CLI::App& verb,
                        const std::string& name,
                        bool& value,
                        const std::string& help) {
  return verb.add_flag(name, value, help)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void print_text(const std::string& text) {
  const bool ok =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  check(ok, ErrorKind::Io, "stdout: cannot write: {}", std::strerror(errno));
}

void print_json(const Json& report) {
  print_text(dump_json(report));
}

}  // namespace vmla
