// The program as it is started: what it loads, and how soon and in how little memory it answers.
// This test loads no libtorch itself, for a child's peak of memory counts from its parent's.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "support/sparse_model.h"
#include "support/temp_dir.h"

namespace vmla::test {
namespace {

constexpr std::size_t kMostMemory = 100'000'000;

struct Started {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string text;    // stdout, then stderr
  double seconds = 0;
  std::size_t peak_bytes = 0;
};

Started start(std::vector<std::string> arguments, const std::string& variable = "VMLA=0") {
  const TempDir dir;
  const std::string out = dir.write("out", "").string(), err = dir.write("err", "").string();
  std::string environment = variable;
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  const auto begin = std::chrono::steady_clock::now();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(::open(out.c_str(), O_WRONLY), 1);
    ::dup2(::open(err.c_str(), O_WRONLY), 2);
    ::putenv(environment.data());
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Started run;
  int status = 0;
  struct rusage usage {};
  ::wait4(pid, &status, 0, &usage);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.text = slurp(out) + slurp(err);
  run.seconds = passed.count();
  run.peak_bytes = static_cast<std::size_t>(usage.ru_maxrss) * 1024;
  return run;
}

const std::string& program() {
  static const std::string path = std::getenv("VMLA_BIN");
  return path;
}

// "13.5 GB" is LLaVA-1.5-7B in bf16: 7,063,427,072 parameters.
TEST(Start, InspectOfABigModelIsQuickAndSmall) {
  const TempDir dir;
  if (!write_sparse_model(dir.path(), read_json("tools/llava_1.5_7b_config.json")))
    GTEST_SKIP() << "no sparse files here";
  ASSERT_LT(start({"/bin/true"}).peak_bytes, kMostMemory) << "this test itself is too big";
  const Started run = start({program(), "inspect", dir.path().string(), "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.text;
  EXPECT_LT(run.peak_bytes, kMostMemory);
  EXPECT_LT(run.seconds, 1.0);
  const Json json = parse_json(run.text, "stdout");
  EXPECT_EQ(json.at("parameters"), 7'063'427'072);
  EXPECT_EQ(json.at("weight_bytes"), 2 * 7'063'427'072);
  EXPECT_EQ(json.at("kv_bytes_per_token"), 2 * 32 * 32 * 128 * 2);
  RecordProperty("peak_bytes", std::to_string(run.peak_bytes));
  RecordProperty("seconds", std::to_string(run.seconds));
}

// The dynamic linker's own list of what the program needs, directly and indirectly.
TEST(Start, LoadsNoLibtorch) {
  const Started needs = start({program()}, "LD_TRACE_LOADED_OBJECTS=1");
  ASSERT_EQ(needs.exit_code, 0);
  ASSERT_NE(needs.text.find("libc.so"), std::string::npos) << needs.text;
  for (const char* library : {"libtorch", "libc10", "cuda", "libcurl"})
    EXPECT_EQ(needs.text.find(library), std::string::npos) << needs.text;
}

TEST(Start, AnswersQuestionsAtOnce) {
  for (const std::string flag : {"--help", "--version", "-h"}) {
    const Started run = start({program(), flag});
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_LT(run.peak_bytes, kMostMemory) << flag;
    EXPECT_LT(run.seconds, 0.5) << flag;
  }
}

TEST(Start, SaysWhatTheWholeProgramSays) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--help"},
                                             {"--version"},
                                             {"inspect", "--help"},
                                             {"inspect"},
                                             {"inspect", "--no_such_flag"},
                                             {"inspect", "/none"},
                                             {"inspect", "tests/golden/models/mha"},
                                             {"inspect", "tests/golden/models/torch_bin", "--json"},
                                             {"help"},
                                             {"--low-rank", "8"},
                                             {}}) {
    std::vector<std::string> thin{program()}, whole{program() + "-torch"};
    thin.insert(thin.end(), arguments.begin(), arguments.end());
    whole.insert(whole.end(), arguments.begin(), arguments.end());
    const Started a = start(thin), b = start(whole);
    EXPECT_EQ(a.exit_code, b.exit_code);
    EXPECT_EQ(a.text, b.text);
    EXPECT_FALSE(a.text.empty());
  }
}

TEST(Start, FindsTheWholeProgramThroughALink) {
  const TempDir dir;
  fs::create_symlink(fs::absolute(program()), dir / "v");
  for (const std::string verb : {"rank", "generate_2norm"}) {
    const Started run = start({(dir / "v").string(), verb, "--help"});
    EXPECT_EQ(run.exit_code, 0) << run.text;
    EXPECT_EQ(run.text, start({program() + "-torch", "rank", "--help"}).text);
  }
}

TEST(Start, SaysWhichProgramIsMissing) {
  const TempDir dir;
  fs::copy_file(program(), dir / "vlm-mla");
  const std::string copy = (dir / "vlm-mla").string();
  EXPECT_EQ(start({copy, "--version"}).exit_code, 0);
  const Started run = start({copy, "convert"});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_NE(run.text.find(copy + "-torch: expected the program that holds this verb"),
            std::string::npos)
      << run.text;
}

}  // namespace
}  // namespace vmla::test
