#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "cli/models.h"
#include "support/sparse_model.h"

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

// A conversion of seconds is told to end as soon as its unfinished output is there.
TEST(Interrupt, AConversionLeavesNothingBehind) {
  Json config = read_json("tests/golden/models/mha/config.json");
  for (const auto& [key, value] : std::vector<std::pair<const char*, int>>{
           {"hidden_size", 512}, {"num_hidden_layers", 24}, {"num_attention_heads", 8}})
    config["text_config"][key] = value;
  for (const int number : {SIGINT, SIGTERM}) {
    const TempDir dir;
    if (!write_sparse_model(dir / "model", config)) GTEST_SKIP() << "no sparse files here";
    const std::string program = std::getenv("VMLA_BIN"), model = (dir / "model").string(),
                      output = (dir / "out/mla").string();
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::dup2(::open("/dev/null", O_WRONLY), 1);
      ::dup2(::open("/dev/null", O_WRONLY), 2);
      ::execl(program.c_str(),
              program.c_str(),
              "convert",
              "--model",
              model.c_str(),
              "--output_dir",
              output.c_str(),
              "--device",
              "cpu",
              nullptr);
      ::_exit(127);
    }
    std::error_code ec;
    int status = 0;
    const auto files = [&] {
      return std::distance(fs::recursive_directory_iterator(dir / "out", ec),
                           fs::recursive_directory_iterator());
    };
    while (files() < 2 && ::waitpid(pid, &status, WNOHANG) == 0) ::usleep(1000);
    ASSERT_GE(files(), 2) << "ended before it could be told to, with status " << status;
    ::kill(pid, number);
    ::waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), number);
    EXPECT_EQ(files(), 0);
  }
}

}  // namespace
}  // namespace vmla::test
