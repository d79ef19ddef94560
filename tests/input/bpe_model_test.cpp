#include "input/bpe_model.h"

#include <gtest/gtest.h>

namespace vmla::test {
namespace {

std::vector<std::int64_t> encode(const BpeSpec& spec, const std::string& text) {
  std::vector<std::int64_t> ids;
  make_bpe_model(spec, "test")->encode(text, ids);
  return ids;
}

using Ids = std::vector<std::int64_t>;

TEST(BpeModel, EqualRanksMergeFromTheLeft) {
  BpeSpec spec;
  spec.vocabulary = {{"a", 0}, {"aa", 1}, {"aaaa", 2}};
  spec.merges = {{"a", "a"}, {"aa", "aa"}};
  EXPECT_EQ(encode(spec, "aaa"), (Ids{1, 0}));
  EXPECT_EQ(encode(spec, "aaaaaaa"), (Ids{2, 1, 0}));
  EXPECT_EQ(encode(spec, ""), Ids{});
}

TEST(BpeModel, LowerRanksGoFirst) {
  BpeSpec spec;
  spec.vocabulary = {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"abc", 5}};
  spec.merges = {{"b", "c"}, {"a", "b"}};
  EXPECT_EQ(encode(spec, "abc"), (Ids{0, 4}));
  spec.merges = {{"a", "b"}, {"b", "c"}, {"ab", "c"}};
  EXPECT_EQ(encode(spec, "abc"), (Ids{5}));
}

TEST(BpeModel, ACharacterWithoutAllItsBytesIsUnknown) {
  BpeSpec spec;
  spec.vocabulary = {{"?", 0}, {"<0xC3>", 1}, {"<0xA9>", 2}};
  spec.byte_fallback = true;
  EXPECT_EQ(encode(spec, "é"), (Ids{1, 2}));
  EXPECT_EQ(encode(spec, "è"), Ids{});  // there is no unknown token
  spec.unknown = "?";
  EXPECT_EQ(encode(spec, "èèé"), (Ids{0, 0, 1, 2}));
  spec.fuse_unknown = true;
  EXPECT_EQ(encode(spec, "èèéè"), (Ids{0, 1, 2, 0}));
}

}  // namespace
}  // namespace vmla::test
