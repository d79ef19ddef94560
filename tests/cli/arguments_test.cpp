#include "cli/arguments.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

namespace vmla::test {
namespace {

using Words = std::vector<std::string>;

class Arguments : public ::testing::Test {
 protected:
  Arguments() {
    CLI::App* verb = app_.add_subcommand("run", "");
    verb->alias("walk");
    verb->add_flag("--ignore_eos", ignore_);
    verb->add_option("--low_rank", rank_);
  }
  Words normalised(const Words& words) const { return normalise_arguments(app_, words); }

  CLI::App app_;
  bool ignore_ = false;
  int rank_ = 0;
};

TEST_F(Arguments, HyphensInNamesBecomeUnderscores) {
  EXPECT_EQ(normalised({"run", "--low-rank", "8"}), (Words{"run", "--low_rank", "8"}));
  EXPECT_EQ(normalised({"run", "--low-rank=a-b"}), (Words{"run", "--low_rank=a-b"}));
}

TEST_F(Arguments, ValuesAndShortFlagsStay) {
  EXPECT_EQ(normalised({"run", "-h-x", "a-b", "-"}), (Words{"run", "-h-x", "a-b", "-"}));
  EXPECT_EQ(normalised({"run", "--", "--a-b"}), (Words{"run", "--", "--a-b"}));
}

TEST_F(Arguments, SwitchesTakeTrueAndFalse) {
  EXPECT_EQ(normalised({"walk", "--ignore-eos", "False", "x"}),
            (Words{"walk", "--ignore_eos=false", "x"}));
  EXPECT_EQ(normalised({"run", "--ignore_eos=TRUE"}), (Words{"run", "--ignore_eos=true"}));
  EXPECT_EQ(normalised({"run", "--ignore_eos", "--low_rank", "True"}),
            (Words{"run", "--ignore_eos", "--low_rank", "True"}));
  EXPECT_EQ(normalised({"other", "--ignore_eos", "True"}),
            (Words{"other", "--ignore_eos", "True"}));
}

TEST_F(Arguments, VerbsOfAVerbHaveTheirOwnSwitches) {
  CLI::App* verb = app_.add_subcommand("eval", "");
  bool raw = false;
  verb->add_subcommand("score", "")->add_flag("--raw", raw);
  EXPECT_EQ(normalised({"eval", "score", "--raw", "True"}), (Words{"eval", "score", "--raw=true"}));
  EXPECT_EQ(normalised({"eval", "--raw", "True"}), (Words{"eval", "--raw", "True"}));
  EXPECT_EQ(normalised({"eval"}), (Words{"eval"}));
}

TEST_F(Arguments, VerbsAreFoundByNameAndAlias) {
  EXPECT_EQ(verb_of({"--json", "run", "x"}), "run");
  EXPECT_EQ(verb_of({"--json"}), "");
  EXPECT_NE(find_verb(app_, "walk"), nullptr);
  EXPECT_EQ(find_verb(app_, ""), nullptr);
  EXPECT_EQ(find_verb(app_, "wal"), nullptr);
}

}  // namespace
}  // namespace vmla::test
