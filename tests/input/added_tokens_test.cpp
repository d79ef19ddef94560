#include "input/added_tokens.h"

#include <gtest/gtest.h>

namespace vmla::test {
namespace {

AddedToken token(std::string content, std::int64_t id) {
  AddedToken token;
  token.content = std::move(content);
  token.id = id;
  return token;
}

// "a[7:<x>]b": each added token with its id and the text it took.
std::string marked(const AddedTokenMatcher& matcher, const std::string& text) {
  std::string out;
  for (const TextPart& part : matcher.split(text)) {
    const std::string piece = text.substr(part.begin, part.end - part.begin);
    out += part.id < 0 ? piece : "[" + std::to_string(part.id) + ":" + piece + "]";
  }
  return out;
}

TEST(AddedTokens, LongestTokenAtTheLeftmostPlaceWins) {
  const AddedTokenMatcher matcher({token("<a", 1), token("<ab>", 2), token("b>", 3), token("", 4)});
  EXPECT_EQ(marked(matcher, "x<ab>y"), "x[2:<ab>]y");
  EXPECT_EQ(marked(matcher, "<abb>"), "[1:<a]b[3:b>]");
  EXPECT_EQ(marked(matcher, "nothing"), "nothing");
  EXPECT_TRUE(matcher.split("").empty());
}

TEST(AddedTokens, StripFlagsTakeWhitespaceOnce) {
  AddedToken left = token("<L>", 1), right = token("<R>", 2);
  left.lstrip = right.rstrip = true;
  const AddedTokenMatcher matcher({left, right});
  EXPECT_EQ(marked(matcher, "a \t<L> b"), "a[1: \t<L>] b");
  EXPECT_EQ(marked(matcher, "a <R> \n b"), "a [2:<R> \n ]b");
  EXPECT_EQ(marked(matcher, "<R>  <L>"), "[2:<R>  ][1:<L>]");
}

TEST(AddedTokens, SingleWordsNeedAnEdgeOnBothSides) {
  AddedToken word = token("cat", 1);
  word.single_word = true;
  const AddedTokenMatcher matcher({word});
  EXPECT_EQ(marked(matcher, "cat (cat) cats concat é cat, 日cat"),
            "[1:cat] ([1:cat]) cats concat é [1:cat], 日cat");
}

}  // namespace
}  // namespace vmla::test
