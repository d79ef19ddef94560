#include "support/run_command.h"

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <stdexcept>

#include "support/temp_dir.h"

namespace vmla::test {

namespace {

Program in_process_program = nullptr;

// Runs body in a child whose stdin, stdout and stderr are files.
CommandResult run_child(const std::string& input,
                        const std::vector<std::string>& env,
                        const std::function<int()>& body) {
  const TempDir dir;
  const auto in = dir.write("in", input), out = dir.write("out", ""), err = dir.write("err", "");
  std::vector<std::string> variables = env;
  std::fflush(nullptr);  // or the child would say it again
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork failed");
  if (pid == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), 0);
    ::dup2(::open(out.c_str(), O_WRONLY), 1);
    ::dup2(::open(err.c_str(), O_WRONLY), 2);
    for (auto& v : variables) ::putenv(v.data());
    const int code = body();
    std::fflush(nullptr);
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = slurp(out);
  result.err = slurp(err);
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  return argv;
}

}  // namespace

void run_vlm_mla_by(Program program) {
  in_process_program = program;
}

CommandResult run_command(const std::vector<std::string>& arguments,
                          const std::string& input,
                          const std::vector<std::string>& env) {
  std::vector<std::string> copies = arguments;
  const std::vector<char*> argv = pointers(copies);
  return run_child(input, env, [&] {
    ::execvp(argv[0], argv.data());
    return 127;
  });
}

CommandResult run_vlm_mla(std::vector<std::string> arguments,
                          const std::string& input,
                          const std::vector<std::string>& env) {
  if (in_process_program != nullptr) {
    arguments.insert(arguments.begin(), "vlm-mla");
    const std::vector<char*> argv = pointers(arguments);
    return run_child(input, env, [&] {
      at::set_num_threads(1);  // the threads of a pool do not survive a fork
      return in_process_program(static_cast<int>(arguments.size()), argv.data());
    });
  }
  const char* binary = std::getenv("VMLA_BIN");
  if (binary == nullptr) throw std::runtime_error("VMLA_BIN is not set; run through ctest");
  arguments.insert(arguments.begin(), binary);
  return run_command(arguments, input, env);
}

}  // namespace vmla::test
