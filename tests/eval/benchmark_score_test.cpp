#include "eval/benchmark_score.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace vmla {
namespace {

const BootstrapOptions kBootstrap{50, 0};

struct Case {
  std::string category;
  std::string id;
  std::string label;
  std::optional<std::string> prediction;
};

// The samples live as long as the cases do.
class Samples {
 public:
  explicit Samples(const std::vector<Case>& cases) {
    samples_.reserve(cases.size());
    for (const Case& c : cases) {
      VqaSample sample;
      sample.category = c.category;
      sample.id = {c.id, false};
      sample.answers = {c.label};
      samples_.push_back(sample);
      answered_.push_back({&samples_.back(), c.prediction});
    }
  }
  std::vector<VqaSample>& samples() { return samples_; }
  const AnsweredSamples& answered() const { return answered_; }

 private:
  std::vector<VqaSample> samples_;
  AnsweredSamples answered_;
};

TEST(PopeScore, FindsNoAmongTheWordsOfTheFirstSentence) {
  EXPECT_EQ(pope_answer("No"), "no");
  EXPECT_EQ(pope_answer("No, there is not"), "no");
  EXPECT_EQ(pope_answer("There is not"), "no");
  EXPECT_EQ(pope_answer("Yes, there is. No doubt"), "yes");
  EXPECT_EQ(pope_answer("NO"), "yes");  // the script knows only these three spellings
  EXPECT_EQ(pope_answer("none"), "yes");
  EXPECT_EQ(pope_answer("no\n"), "yes");  // words are parted at spaces alone
  EXPECT_EQ(pope_answer(""), "yes");
}

// The numbers and lines are those that LLaVA's script prints for the same files.
TEST(PopeScore, CountsAndPrintsAsLlavasScript) {
  const Samples samples({{"random", "1", "yes", "Yes, there is. No doubt."},
                         {"random", "2", "no", "no"},
                         {"random", "3", "yes", "There is not, I think"},
                         {"random", "4", "no", "A dog"},
                         {"random", "5", "yes", "yes"},
                         {"popular", "1", "no", ""},
                         {"popular", "2", "yes", "Nope"},
                         {"popular", "3", "no", "It is not. Yes"}});
  const BenchmarkScore score = score_pope(samples.answered(), kBootstrap);
  EXPECT_EQ(score.printed,
            "Category: random, # samples: 5\nTP\tFP\tTN\tFN\t\n2\t1\t1\t1\nAccuracy: 0.6\n"
            "Precision: 0.6666666666666666\nRecall: 0.6666666666666666\n"
            "F1 score: 0.6666666666666666\nYes ratio: 0.6\n0.667, 0.600, 0.667, 0.667, 0.600\n"
            "====================================\n"
            "Category: popular, # samples: 3\nTP\tFP\tTN\tFN\t\n1\t1\t1\t0\n"
            "Accuracy: 0.6666666666666666\nPrecision: 0.5\nRecall: 1.0\n"
            "F1 score: 0.6666666666666666\nYes ratio: 0.6666666666666666\n"
            "0.667, 0.667, 0.500, 1.000, 0.667\n====================================\n");
  EXPECT_DOUBLE_EQ(score.metrics["official"]["overall"].get<double>(), 200.0 / 3);
  EXPECT_EQ(score.metrics["official"]["pooled"]["tp"], 3);
  EXPECT_EQ(score.scores[0], (std::vector<double>{1, 1, 0, 0, 1, 0, 1, 1}));
  // Only "no" and "yes" are answers here; the ratio is that of the labels.
  EXPECT_EQ(score.scores[1], (std::vector<double>{0, 1, 0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(score.metrics["strict"]["accuracy"], 25.0);
  EXPECT_EQ(score.metrics["strict"]["precision"], 100.0);
  EXPECT_EQ(score.metrics["strict"]["recall"], 100.0);
  EXPECT_EQ(score.metrics["strict"]["yes_ratio"], 50.0);
}

TEST(PopeScore, AMissingAnswerIsWrongAndNothingIsDividedByZero) {
  const Samples samples(
      {{"random", "1", "no", std::nullopt}, {"random", "2", "yes", std::nullopt}});
  const BenchmarkScore score = score_pope(samples.answered(), kBootstrap);
  EXPECT_EQ(score.scores[0], (std::vector<double>{0, 0}));
  EXPECT_EQ(score.metrics["official"]["overall"], 0.0);
  EXPECT_EQ(score.metrics["official"]["per_category"]["random"]["fn"], 1);
  const Samples all_no({{"random", "1", "no", "no"}});
  EXPECT_EQ(score_pope(all_no.answered(), kBootstrap).metrics["official"]["overall"], 0.0);
}

TEST(MmeScore, TakesYesOrNoFromTheFirstFourLetters) {
  EXPECT_EQ(mme_label("Yes"), "yes");
  EXPECT_EQ(mme_label("No, it"), "no");
  EXPECT_EQ(mme_label("It is, yes"), "other");
  EXPECT_EQ(mme_label(" Yes"), "yes");
  EXPECT_EQ(mme_label("   no"), "other");  // its n alone is among the first four
  EXPECT_EQ(mme_label("none"), "no");
  EXPECT_EQ(mme_label("N.o"), "other");
  EXPECT_EQ(mme_label("y"), "other");
  EXPECT_EQ(mme_label_lmms("y"), "yes");
  EXPECT_EQ(mme_label_lmms(" N. "), "no");
  EXPECT_EQ(mme_label_lmms("   no"), "no");
  EXPECT_EQ(mme_label_lmms("N.o"), "no");
  EXPECT_EQ(mme_label_lmms("a"), "other");
}

TEST(MmeScore, AddsAccuracyAndPairsAsTheBenchmarksScript) {
  const Samples samples({{"existence", "existence/1", "yes", "yes"},
                         {"existence", "existence/1", "no", "No, it"},
                         {"existence", "existence/2", "yes", "It is, yes"},
                         {"existence", "existence/2", "no", "no"},
                         {"existence", "existence/3", "yes", " Yes"},
                         {"existence", "existence/3", "no", "N.o"},
                         {"OCR", "OCR/9", "yes", "no"},
                         {"OCR", "OCR/9", "no", "no"},
                         {"code_reasoning", "code_reasoning/4", "yes", "y"},
                         {"code_reasoning", "code_reasoning/4", "no", "none"}});
  const BenchmarkScore score = score_mme(samples.answered(), kBootstrap);
  EXPECT_EQ(score.printed,
            "=========== Perception ===========\ntotal score: 150.0 \n\n"
            "\t existence  score: 99.99999999999999\n\t OCR  score: 50.0\n\n\n"
            "=========== Cognition ===========\ntotal score: 50.0 \n\n"
            "\t code_reasoning  score: 50.0\n\n\n");
  EXPECT_EQ(score.metrics["official"]["overall"], 150.0);
  EXPECT_EQ(score.metrics["official"]["cognition"], 50.0);
  EXPECT_EQ(score.metrics["lmms_eval"]["cognition"], 200.0);
}

TEST(MmeScore, RefusesCutPairsAndUnknownTasks) {
  const Samples cut({{"OCR", "OCR/9", "yes", "no"}});
  EXPECT_TRUE(test::fails_with(ErrorKind::Config, {"OCR/9", "2 questions", "got 1"}, [&] {
    score_mme(cut.answered(), kBootstrap);
  }));
  const Samples unknown({{"ocr", "ocr/9", "yes", "no"}, {"ocr", "ocr/9", "no", "no"}});
  EXPECT_TRUE(test::fails_with(ErrorKind::Config, {"sub-tasks", "got ocr"}, [&] {
    score_mme(unknown.answered(), kBootstrap);
  }));
}

TEST(ScienceQaScore, FindsTheLetter) {
  EXPECT_EQ(scienceqa_letter("A"), "A");
  EXPECT_EQ(scienceqa_letter("B. because"), "B");
  EXPECT_EQ(scienceqa_letter("A."), "FAILED");  // too short for "A. "
  EXPECT_EQ(scienceqa_letter("F"), "FAILED");
  EXPECT_EQ(scienceqa_letter("b"), "FAILED");
  EXPECT_EQ(scienceqa_letter("I say: The answer is B."), "B");
  EXPECT_EQ(scienceqa_letter("The answer is B"), "FAILED");  // any character must follow
  EXPECT_EQ(scienceqa_letter("The answer is B, or The answer is C."), "FAILED");
  EXPECT_EQ(scienceqa_letter("The answer is unclear. The answer is C!"), "C");
  EXPECT_TRUE(scienceqa_equal_lmms(" a ", "A"));
  EXPECT_TRUE(scienceqa_equal_lmms("A.", "A"));
  EXPECT_FALSE(scienceqa_equal_lmms("a.", "A"));
  EXPECT_FALSE(scienceqa_equal_lmms("B. A", "A"));
}

// The line is what LLaVA's script prints for the same files.
TEST(ScienceQaScore, CountsAndPrintsAsLlavasScript) {
  Samples samples({{"natural science", "0", "A", "A"},
                   {"natural science", "1", "B", "B. because"},
                   {"social science", "2", "B", "The answer is B."},
                   {"language science", "3", "A", "D"},
                   {"language science", "4", "C", "c"},
                   {"x", "5", "C", "The answer is C. The answer is C."},
                   {"x", "6", "A", "A."}});
  for (const std::size_t i : {0, 1, 3, 5, 6}) samples.samples()[i].image = "image.png";
  const BenchmarkScore score = score_scienceqa(samples.answered(), kBootstrap);
  EXPECT_EQ(score.printed, "Total: 7, Correct: 3, Accuracy: 42.86%, IMG-Accuracy: 40.00%\n");
  EXPECT_EQ(score.metrics["official"]["overall"], 40.0);
  EXPECT_EQ(score.metrics["official"]["image_questions"], 5);
  EXPECT_EQ(score.metrics["official"]["per_subject"]["social science"], 100.0);
  EXPECT_EQ(score.scores[1], (std::vector<double>{1, 1, 0, 0, 1, 0, 1}));
}

GqaTraits traits(const char* structural, const char* semantic, const char* group, int steps) {
  return {true, structural, semantic, group, steps};
}

// The lines are what GQA's script prints for the same questions, its files of choices missing.
TEST(GqaScore, GroupsAndPrintsAsGqasScript) {
  Samples samples({{"", "201", "yes", "Yes."},
                   {"", "202", "left", "left..."},
                   {"", "203", "right", "Left"},
                   {"", "204", "left", "to the left"},
                   {"", "205", "no", "No"}});
  const char* questions[] = {
      "Is it  red?", "Where is the dog?", "Where is the big dog?", "Where?", "Is that so now?"};
  const GqaTraits groups[] = {traits("verify", "obj", "", 1),
                              traits("query", "rel", "place", 2),
                              traits("query", "rel", "place", 1),
                              traits("query", "rel", "place", 1),
                              traits("logical", "attr", "side", 3)};
  for (std::size_t i = 0; i < 5; ++i) {
    samples.samples()[i].question = questions[i];
    samples.samples()[i].gqa = groups[i];
  }
  const BenchmarkScore score = score_gqa(samples.answered(), samples.answered(), {}, kBootstrap);
  EXPECT_EQ(score.printed,
            "\nBinary: 100.00%\nOpen: 33.33%\nAccuracy: 60.00%\nValidity: 0.00%\n"
            "Plausibility: 0.00%\nDistribution: 0.01 (lower is better)\n"
            "\nAccuracy / structural type:\n  logical: 100.00% (1 questions)\n"
            "  query: 33.33% (3 questions)\n  verify: 100.00% (1 questions)\n"
            "\nAccuracy / semantic type:\n  attr: 100.00% (1 questions)\n"
            "  obj: 100.00% (1 questions)\n  rel: 33.33% (3 questions)\n"
            "\nAccuracy / steps number:\n  1: 33.33% (3 questions)\n  2: 100.00% (1 questions)\n"
            "  3: 100.00% (1 questions)\n"
            "\nAccuracy / words number:\n  1: 0.00% (1 questions)\n  3: 100.00% (1 questions)\n"
            "  4: 100.00% (2 questions)\n  5: 0.00% (1 questions)\n");
  EXPECT_EQ(score.scores[1], (std::vector<double>{1, 1, 0, 0, 1}));
  EXPECT_EQ(score.scores[2], (std::vector<double>{0, 0, 0, 0, 0}));
  // place: left 2, right 1; predicted left 2, "to the left" 1: (0 + 1) * 3; side: 0 * 1.
  EXPECT_DOUBLE_EQ(score.metrics["official"]["distribution"].get<double>(), 0.75 / 100);
}

TEST(GqaScore, LmmsEvalIgnoresAsciiMarksAndCase) {
  EXPECT_EQ(gqa_answer("Yes.."), "yes");
  EXPECT_EQ(gqa_answer("Yes. "), "yes. ");
  EXPECT_EQ(gqa_answer_lmms("T-Shirt, \"É\"!"), "tshirt é");
}

TEST(BenchmarkScore, AMissingAnswerIsWrongAndStaysInTheDenominator) {
  const Samples gqa({{"", "1", "yes", "yes"}, {"", "2", "", std::nullopt}});
  EXPECT_EQ(score_gqa(gqa.answered(), gqa.answered(), {}, kBootstrap).metrics["exact"]["overall"],
            50.0);
  Samples science({{"x", "1", "A", "A"}, {"x", "2", "A", std::nullopt}});
  for (VqaSample& sample : science.samples()) sample.image = "image.png";
  EXPECT_EQ(score_scienceqa(science.answered(), kBootstrap).printed,
            "Total: 2, Correct: 1, Accuracy: 50.00%, IMG-Accuracy: 50.00%\n");
  const Samples mme({{"OCR", "OCR/9", "yes", "yes"}, {"OCR", "OCR/9", "no", std::nullopt}});
  EXPECT_EQ(score_mme(mme.answered(), kBootstrap).metrics["official"]["overall"], 50.0);
}

TEST(VqaScore, PrintsTextVqasLinesAndScoresMissingAsWrong) {
  Samples samples({{"", "1", "", "Stop"}, {"", "2", "", std::nullopt}});
  for (VqaSample& sample : samples.samples()) sample.answers.assign(10, "stop");
  const BenchmarkScore score =
      score_vqa(samples.answered(), VqaRules::EvalAi, Unanimous::Normalize, kBootstrap);
  EXPECT_EQ(score.printed, "Samples: 2\nAccuracy: 50.00%\n\n");
  EXPECT_EQ(score.scores[0], (std::vector<double>{1, 0}));
  EXPECT_EQ(score.metrics["official"]["overall"], 50.0);
  EXPECT_FALSE(score.metrics.contains("official_raw_unanimous"));
}

}  // namespace
}  // namespace vmla
