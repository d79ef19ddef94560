#include "eval/vqa_accuracy.h"

#include <gtest/gtest.h>

#include "eval/golden_lines.h"

namespace vmla {
namespace {

using Answers = std::vector<std::string>;

Answers answers_with(std::size_t equal) {
  Answers answers(10, "other");
  for (std::size_t i = 0; i < equal; ++i) answers[9 - i] = "cat";
  return answers;
}

TEST(VqaAccuracy, HasTheClosedFormInTheNumberOfEqualAnswers) {
  for (std::size_t k = 0; k <= 10; ++k) {
    const double want = k >= 4 ? 1.0 : 0.3 * static_cast<double>(k);
    EXPECT_NEAR(leave_one_out_accuracy("cat", answers_with(k)), want, 1e-15) << k;
    const VqaScores scores =
        VqaScorer(VqaRules::Vqav2, Unanimous::Raw).score("cat", answers_with(k));
    EXPECT_NEAR(scores.official, want, 1e-15) << k;
    EXPECT_EQ(scores.original, std::min(static_cast<double>(k) / 3.0, 1.0)) << k;
  }
}

TEST(VqaAccuracy, UnanimousAnswersAreComparedRawAsTheOfficialScriptDoes) {
  const Answers yes(10, "yes");
  VqaScorer official(VqaRules::Vqav2, Unanimous::Raw);
  const VqaScores raw = official.score("Yes", yes);
  EXPECT_EQ(raw.official, 0.0);
  EXPECT_EQ(raw.official_normalized, 1.0);
  EXPECT_EQ(raw.lmms_eval, 1.0);
  EXPECT_EQ(raw.evalai, 1.0);
  // Trimmed all the same, and normalised as soon as one answer differs.
  EXPECT_EQ(official.score(" yes\n", yes).official, 1.0);
  EXPECT_EQ(official.score("yes.", yes).official, 0.0);
  Answers mixed = yes;
  mixed[3] = "no";
  EXPECT_EQ(official.score("Yes", mixed).official, 1.0);
  // Unanimous is what is so after trimming, not after normalising.
  Answers spelt = yes;
  spelt[3] = "Yes";
  EXPECT_EQ(official.score("Yes.", spelt).official, 1.0);
  spelt[3] = "yes\t";
  EXPECT_EQ(official.score("Yes.", spelt).official, 0.0);
  const VqaScores normal = VqaScorer(VqaRules::Vqav2, Unanimous::Normalize).score("Yes", yes);
  EXPECT_EQ(normal.official, 1.0);
  EXPECT_EQ(normal.official_raw_unanimous, 0.0);
}

TEST(VqaAccuracy, TextVqaIsScoredByTheEvalAiProcessor) {
  const Answers answers(10, "blackwhite");
  EXPECT_EQ(
      VqaScorer(VqaRules::EvalAi, Unanimous::Normalize).score("black,white", answers).official,
      1.0);
  EXPECT_EQ(VqaScorer(VqaRules::Vqav2, Unanimous::Normalize).score("black,white", answers).official,
            0.0);
}

TEST(VqaAccuracy, AgreesWithTheTranscriptionInPythonToTheLastBit) {
  const auto rows = test::golden_lines("vqa_metric/cases.jsonl");
  ASSERT_EQ(rows.size(), 5000u);
  VqaScorer scorer(VqaRules::Vqav2, Unanimous::Raw);
  for (const Json& row : rows) {
    Answers answers;
    for (const char digit : row[2].get<std::string>()) {
      answers.push_back(row[1].at(static_cast<std::size_t>(digit - '0')));
    }
    const VqaScores scores = scorer.score(row[0], answers);
    EXPECT_EQ(scores.official, row[3].get<double>()) << row;
    EXPECT_EQ(scores.official_normalized, row[4].get<double>()) << row;
    EXPECT_EQ(scores.evalai, row[5].get<double>()) << row;
    EXPECT_EQ(scores.lmms_eval, row[6].get<double>()) << row;
    EXPECT_EQ(scores.original, row[7].get<double>()) << row;
  }
}

}  // namespace
}  // namespace vmla
