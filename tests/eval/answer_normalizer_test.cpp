#include "eval/answer_normalizer.h"

#include <gtest/gtest.h>

#include "eval/golden_lines.h"
#include "eval/original_metric.h"

namespace vmla {
namespace {

struct Vector {
  const char* text;
  const char* official;
  const char* evalai;
};

// What the named evaluators return for these answers.
constexpr Vector kVectors[] = {{"black,white", "black white", "blackwhite"},
                               {"black, white", "black white", "black white"},
                               {"1,000 people", "1000 people", "1000 people"},
                               {"10,000-20,000", "1000020000", "10000 20000"},
                               {"man's", "man's", "man 's"},
                               {"it's", "it's", "it 's"},
                               {"let's", "let's", "let 's"},
                               {"two-story", "2 story", "2 story"},
                               {"left / right", "left right", "left right"},
                               {"U.S.A.", "usa", "usa"},
                               {"$5.00", "$5.00", "$5.00"},
                               {"5:30", "5:30", "5:30"},
                               {"e.g. cat", "eg cat", "eg cat"},
                               {"none", "0", "0"},
                               {"a an the", "", ""},
                               {"dont", "don't", "don't"},
                               {"Im", "im", "im"},
                               {"somebody'd", "somebodyd", "somebodyd"},
                               {"red (dark)", "red dark", "red dark"},
                               {"Café", "café", "café"},
                               {"...", "", ""}};

TEST(AnswerNormalizer, GivesThePublishedVectors) {
  for (const Vector& v : kVectors) {
    EXPECT_EQ(normalize_official(v.text), v.official) << v.text;
    EXPECT_EQ(normalize_evalai(v.text), v.evalai) << v.text;
  }
}

TEST(AnswerNormalizer, KeepsTheQuirks) {
  EXPECT_EQ(normalize_official(".5"), ".5");
  EXPECT_EQ(normalize_official("3."), "3");
  EXPECT_EQ(normalize_official("eleven"), "eleven");
  EXPECT_EQ(normalize_official("she's"), "she's");
  EXPECT_EQ(normalize_official("mustn'tve"), "mustn'tve");
  // 33 periods: one is left.
  EXPECT_EQ(normalize_official("x" + std::string(33, '.') + "y"), "x.y");
  EXPECT_EQ(normalize_official("a\tred\nbus"), "red bus");
  // Two commas are no "digit, comma, digit" to one rule and are to the other.
  EXPECT_EQ(normalize_official("1,,000-2"), "1 000 2");
  EXPECT_EQ(normalize_lmms_vqav2("1,,000-2"), "10002");
}

TEST(AnswerNormalizer, HasEveryContractionThatCanMatch) {
  EXPECT_EQ(contractions().size(), 116u);
  for (const auto& [key, value] : contractions()) {
    EXPECT_EQ(key.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), key.npos) << key;
  }
  EXPECT_EQ(contractions().at("theyd've"), "they'd've");
  EXPECT_EQ(contractions().at("couldn'tve"), "couldn't've");
  EXPECT_EQ(contractions().at("twas"), "'twas");
  EXPECT_EQ(contractions().at("y'all'dve"), "y'all'd've");
}

TEST(AnswerNormalizer, AgreesWithTheTranscriptionInPython) {
  const auto rows = test::golden_lines("vqa_metric/texts.jsonl");
  ASSERT_EQ(rows.size(), 1501u);
  for (const Json& row : rows) {
    const std::string text = row[0];
    EXPECT_EQ(normalize_official(text), row[1]) << row[0];
    EXPECT_EQ(normalize_evalai(text), row[2]) << row[0];
    EXPECT_EQ(normalize_lmms_vqav2(text), row[3]) << row[0];
    EXPECT_EQ(original_short_answer(text), row[4]) << row[0];
    EXPECT_EQ(original_normalize(text), row[5]) << row[0];
  }
}

TEST(OriginalMetric, TakesTheShortAnswerAsTheOriginalDoes) {
  EXPECT_EQ(original_short_answer("3.5 meters"), "3");
  EXPECT_EQ(original_short_answer(""), "unknown");
  EXPECT_EQ(original_short_answer("..."), "unknown");
  EXPECT_EQ(original_short_answer("Answer: red\nbecause"), "red");
  EXPECT_EQ(original_short_answer("answers vary"), "s vary");
  EXPECT_EQ(original_short_answer("I think the answer is two cats. Yes."), "two cats");
  EXPECT_EQ(original_short_answer("the answer is .5"), "unknown");
  EXPECT_EQ(original_short_answer("one two  three four five six"), "one two three four five");
  EXPECT_EQ(original_normalize("  It's\t a  Dog! "), "its a dog");
}

}  // namespace
}  // namespace vmla
