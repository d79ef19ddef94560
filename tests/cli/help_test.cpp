// Help texts are part of the interface: a new flag shows as a change of a committed file. To renew
// them, run this test with VMLA_UPDATE_HELP=1.
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "base/files.h"
#include "support/run_command.h"
#include "support/temp_dir.h"

namespace vmla::test {
namespace {

const fs::path kTexts = "tests/cli/help";

void expect_text(const std::vector<std::string>& arguments, const fs::path& file) {
  const CommandResult result = run_vlm_mla(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  if (std::getenv("VMLA_UPDATE_HELP") != nullptr) write_file_atomic(file, result.out);
  ASSERT_TRUE(fs::exists(file)) << file;
  EXPECT_EQ(result.out, slurp(file)) << file;
}

// The verbs that the program's own help lists.
std::vector<std::string> listed_verbs() {
  std::istringstream lines(run_vlm_mla({"--help"}).out);
  std::vector<std::string> verbs;
  std::string line;
  while (std::getline(lines, line) && line != "verbs:") continue;
  while (std::getline(lines, line) && !line.empty()) {
    if (line[2] != ' ') verbs.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return verbs;
}

TEST(Help, TheProgram) {
  expect_text({"--help"}, kTexts / "vlm-mla.txt");
}

TEST(Help, EachVerb) {
  const auto verbs = listed_verbs();
  EXPECT_GE(verbs.size(), 5U);
  for (const auto& verb : verbs) expect_text({verb, "--help"}, kTexts / (verb + ".txt"));
}

TEST(Help, TheBinaryItselfSaysTheSame) {
  const CommandResult result = run_command({std::getenv("VMLA_BIN"), "--help"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, run_vlm_mla({"--help"}).out);
}

TEST(Help, NoTextIsLeftOver) {
  std::size_t texts = 0;
  for (const auto& entry : fs::directory_iterator(kTexts)) {
    if (entry.path().extension() == ".txt") ++texts;
  }
  EXPECT_EQ(texts, listed_verbs().size() + 1);
}

TEST(Help, AliasesAndShortFlag) {
  EXPECT_EQ(run_vlm_mla({"benchmark_memory", "-h"}).out, slurp(kTexts / "bench.txt"));
  EXPECT_EQ(run_vlm_mla({"generate_2norm", "-h"}).out, slurp(kTexts / "rank.txt"));
}

}  // namespace
}  // namespace vmla::test
