// Streaming gives the text of decode(), whole characters at a time.
#include <gtest/gtest.h>

#include <random>

#include "base/stopwatch.h"
#include "input/tokenizer_dir.h"
#include "input/utf8.h"

namespace vmla::test {
namespace {

// The concatenation of all pieces; each must be UTF-8 by itself.
std::string streamed(const Tokenizer& tokenizer, const std::vector<std::int64_t>& ids, bool skip) {
  StreamDecoder decoder(tokenizer, skip);
  std::string text;
  for (const auto id : ids) {
    const std::string piece = decoder.push(id);
    EXPECT_TRUE(is_utf8(piece));
    text += piece;
  }
  const std::string rest = decoder.finish();
  EXPECT_TRUE(is_utf8(rest));
  return text + rest;
}

TEST(StreamDecoder, PiecesJoinToTheDecodedText) {
  const auto tokenizer = load_flavour("plain", TokenizerFiles::Both);
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::int64_t> ids(round % 40);
    // Byte tokens, special tokens and ids without a token are frequent among these.
    for (auto& id : ids) {
      id = static_cast<std::int64_t>(random() % 3 == 0 ? 3 + random() % 256 : random() % 515);
    }
    for (const bool skip : {false, true})
      EXPECT_EQ(streamed(*tokenizer, ids, skip), tokenizer->decode(ids, skip));
  }
}

TEST(StreamDecoder, HoldsBackBytesUntilTheRunEnds) {
  const auto tokenizer = load_flavour("plain", TokenizerFiles::Json);
  const auto word = tokenizer->token_to_id("\xe2\x96\x81the").value();
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.push(word), "the");
  EXPECT_EQ(decoder.push(3 + 0xe6), "");
  EXPECT_EQ(decoder.push(3 + 0x97), "");
  EXPECT_EQ(decoder.push(3 + 0xa5), "");
  EXPECT_EQ(decoder.push(word), "日 the");
  EXPECT_EQ(decoder.push(3 + 0xff), "");
  EXPECT_EQ(decoder.finish(), "\xef\xbf\xbd");
  // A decoder that was finished starts anew, with its leading space taken.
  EXPECT_EQ(decoder.push(word), "the");
}

TEST(StreamDecoder, CostDoesNotGrowWithTheText) {
  const auto tokenizer = load_flavour("plain", TokenizerFiles::Json);
  const auto word = tokenizer->token_to_id("\xe2\x96\x81the").value();
  StreamDecoder decoder(*tokenizer);
  const Stopwatch watch;
  std::size_t size = 0;
  for (int i = 0; i < 200'000; ++i) size += decoder.push(i % 5 == 0 ? 13 : word).size();
  EXPECT_GT(size, 600'000u);
  EXPECT_LT(watch.seconds(), 2.0);
}

}  // namespace
}  // namespace vmla::test
