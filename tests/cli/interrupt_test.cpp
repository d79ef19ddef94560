#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "cli/models.h"

namespace vmla::test {
namespace {

struct Interrupted {
  int exit_code = -1;
  std::string out;
};

// Starts the program, sends SIGINT after its first output, and reads it to the end.
Interrupted interrupt_after_first_output(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), std::getenv("VMLA_BIN"));
  int out[2];
  int in[2];
  EXPECT_EQ(::pipe(out), 0);
  EXPECT_EQ(::pipe(in), 0);  // stays open: nothing to read, no end
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::dup2(::open("/dev/null", O_WRONLY), 2);
    for (const int fd : {in[0], in[1], out[0], out[1]}) ::close(fd);
    std::vector<char*> argv;
    for (auto& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(out[1]);
  ::close(in[0]);
  Interrupted result;
  char buffer[4096];
  bool sent = false;
  for (ssize_t n = 0; (n = ::read(out[0], buffer, sizeof buffer)) > 0;) {
    result.out.append(buffer, static_cast<std::size_t>(n));
    if (!sent) ::kill(pid, SIGINT);
    sent = true;
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  ::close(in[1]);
  ::close(out[0]);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return result;
}

TEST(Interrupt, EndsTheLineAndExitsWith130) {
  const Interrupted result = interrupt_after_first_output({"generate",
                                                           "--model",
                                                           kMha,
                                                           "--device",
                                                           "cpu",
                                                           "--prompt",
                                                           "Which?",
                                                           "--ignore_eos",
                                                           "--max_new_tokens",
                                                           "1000000"});
  EXPECT_EQ(result.exit_code, 130);
  ASSERT_FALSE(result.out.empty());
  EXPECT_EQ(result.out.back(), '\n');
}

TEST(Interrupt, EndsADialogue) {
  const Interrupted result = interrupt_after_first_output({"generate",
                                                           "--model",
                                                           kMha,
                                                           "--device",
                                                           "cpu",
                                                           "--prompt",
                                                           "Which?",
                                                           "--ignore_eos",
                                                           "--chat",
                                                           "--max_new_tokens",
                                                           "4000"});
  EXPECT_EQ(result.exit_code, 130);
  ASSERT_FALSE(result.out.empty());
  EXPECT_EQ(result.out.back(), '\n');
}

}  // namespace
}  // namespace vmla::test
