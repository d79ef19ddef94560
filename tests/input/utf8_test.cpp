#include "input/utf8.h"

#include <gtest/gtest.h>

namespace vmla::test {
namespace {

TEST(Utf8, ReplacesEachIllFormedPartOnce) {
  const std::string bad(kReplacementCharacter);
  // The expected values are those of Python's decode("utf-8", "replace").
  EXPECT_EQ(replace_invalid_utf8("café"), "café");
  EXPECT_EQ(replace_invalid_utf8("\xff"), bad);
  EXPECT_EQ(replace_invalid_utf8("\xe6\x97"), bad);
  EXPECT_EQ(replace_invalid_utf8("\xe6\x97"
                                 "a"),
            bad + "a");
  EXPECT_EQ(replace_invalid_utf8("\xf0\x9f\x98"), bad);
  EXPECT_EQ(replace_invalid_utf8("\xc0\xaf"), bad + bad);
  EXPECT_EQ(replace_invalid_utf8("\xed\xa0\x80"), bad + bad + bad);
  EXPECT_EQ(replace_invalid_utf8("\xf4\x90\x80\x80"), bad + bad + bad + bad);
}

TEST(Utf8, KnowsWhatIsWellFormed) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("a\xc2\xa0\xe2\x96\x81\xf0\x9f\x98\x80"));
  EXPECT_FALSE(is_utf8("a\xc2"));
  EXPECT_FALSE(is_utf8("\xe0\x9f\xbf"));
  EXPECT_EQ(first_utf8_char("\xf0\x9f\x98\x80x").code, U'\U0001f600');
}

TEST(Utf8, KnowsUnicodeSpaces) {
  for (const char32_t c :
       {U'\t', U'\n', U' ', U'\u0085', U'\u00a0', U'\u2003', U'\u2028', U'\u3000'}) {
    EXPECT_TRUE(is_unicode_space(c)) << static_cast<std::uint32_t>(c);
  }
  for (const char32_t c : {U'a', U'\u200b', U'\ufeff', U'\u2581'})
    EXPECT_FALSE(is_unicode_space(c));
}

}  // namespace
}  // namespace vmla::test
