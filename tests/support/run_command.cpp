#include "support/run_command.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "support/temp_dir.h"

namespace vmla::test {

CommandResult run_command(const std::vector<std::string>& arguments,
                          const std::string& input,
                          const std::vector<std::string>& env) {
  const TempDir dir;
  const auto in = dir.write("in", input), out = dir.write("out", ""), err = dir.write("err", "");
  std::vector<std::string> copies = arguments, variables = env;
  std::vector<char*> argv;
  for (auto& a : copies) argv.push_back(a.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork failed");
  if (pid == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), 0);
    ::dup2(::open(out.c_str(), O_WRONLY), 1);
    ::dup2(::open(err.c_str(), O_WRONLY), 2);
    for (auto& v : variables) ::putenv(v.data());
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = slurp(out);
  result.err = slurp(err);
  return result;
}

CommandResult run_vlm_mla(std::vector<std::string> arguments,
                          const std::string& input,
                          const std::vector<std::string>& env) {
  const char* binary = std::getenv("VMLA_BIN");
  if (binary == nullptr) throw std::runtime_error("VMLA_BIN is not set; run through ctest");
  arguments.insert(arguments.begin(), binary);
  return run_command(arguments, input, env);
}

}  // namespace vmla::test
