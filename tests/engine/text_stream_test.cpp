#include "engine/text_stream.h"

#include <gtest/gtest.h>

namespace vmla::test {
namespace {

// The pieces a filter shows for the pieces it is given, "|" after each.
std::string shown(StopFilter filter, const std::vector<std::string>& pieces) {
  std::string out;
  for (const auto& piece : pieces) out += filter.push(piece) + "|";
  return out + filter.finish();
}

TEST(StopFilter, PassesTextThatStartsNoStop) {
  EXPECT_EQ(shown(StopFilter({}), {"a", "b"}), "a|b|");
  EXPECT_EQ(shown(StopFilter({"###"}), {"a", "b"}), "a|b|");
}

TEST(StopFilter, HoldsBackWhatMightBecomeAStop) {
  EXPECT_EQ(shown(StopFilter({"###"}), {"a#", "#", "b"}), "a||##b|");
  EXPECT_EQ(shown(StopFilter({"###"}), {"a#", "#"}), "a||##");  // the end shows the rest
}

TEST(StopFilter, CutsBeforeTheFirstStop) {
  EXPECT_EQ(shown(StopFilter({"###"}), {"a#", "##b", "c"}), "a|||");
  EXPECT_EQ(shown(StopFilter({"USER:", "\n\n"}), {"yes\n", "\nUSER:"}), "yes||");
  EXPECT_EQ(shown(StopFilter({"lo", "hello"}), {"hel", "lo w"}), "||");
}

TEST(StopFilter, OverlappingBeginningsAreTried) {
  EXPECT_EQ(shown(StopFilter({"aab"}), {"aa", "a", "b", "c"}), "|a|||");
}

TEST(StopFilter, TellsThatItStopped) {
  StopFilter filter({"ab"});
  filter.push("a");
  EXPECT_FALSE(filter.stopped());
  filter.push("b");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
}

}  // namespace
}  // namespace vmla::test
