// Runs a program as a user would and keeps what it says.
#pragma once

#include <string>
#include <vector>

namespace vmla::test {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string out;
  std::string err;
};

// No shell: each argument is passed as it is. env entries are "NAME=value", added to ours. input
// becomes stdin.
CommandResult run_command(const std::vector<std::string>& arguments,
                          const std::string& input = {},
                          const std::vector<std::string>& env = {});
// The vlm-mla binary under test ($VMLA_BIN) with these arguments.
CommandResult run_vlm_mla(std::vector<std::string> arguments,
                          const std::string& input = {},
                          const std::vector<std::string>& env = {});

// The program as a function. Once set, run_vlm_mla calls it in a forked child, on one thread,
// instead of starting the binary: loading libtorch takes longer than most runs.
using Program = int (*)(int argc, const char* const* argv);
void run_vlm_mla_by(Program program);

}  // namespace vmla::test
